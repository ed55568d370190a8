"""Asynchronous rounds on the clock: two clients and two steps by hand, staleness, faults, and what restarts when."""

from dataclasses import replace

import pytest

from simulator.protocols.fedbuff import FedBuff
from simulator.protocols.rounds import Terms
from tests.simulator.small_rounds import MB, HandCosts, close, events, plan, small_world

# A turn of one step takes a client 16.5 s alone (see `HandCosts`); the server aggregates 0.25 s for each result.


def never(_before):
    """Let everybody rest until the next round."""
    return


class Turns:
    """A buffer with a world around it."""

    def __init__(self, costs, num_clients, *, again=never, buffer_size=2, max_staleness=20, discipline="fifo"):
        self.world, self.writer = small_world(costs, num_clients=num_clients, discipline=discipline)
        self.buffer = FedBuff(buffer_size=buffer_size, max_staleness=max_staleness, again=again)
        self.number = 0

    def round(self, plans, terms=None):
        self.number += 1
        log = self.buffer.run_round(self.world, self.number, plans, *([] if terms is None else [terms]))
        self.writer.spans.flush_round(self.number)
        return log

    @property
    def spans(self):
        return self.writer.records().spans


def once(following):
    """Return what lets each client go on once, with one step."""
    left = dict(following)
    return lambda before: left.pop(before.client, None)


def two_rounds(**settings):
    """Play two rounds of two clients; client 0 begins its second turn in the first round."""
    turns = Turns(HandCosts(forward_s=(1.0, 1.6)), 2, again=once({0: plan(0, turn=2)}), **settings)
    first = turns.round([plan(0, num_steps=2, turn=1), plan(1, num_steps=2, turn=1)])
    assert 0 in turns.buffer.busy
    assert 1 not in turns.buffer.busy
    second = turns.round([plan(1, turn=2)])
    return turns, first, second


def test_two_clients_take_turns_in_their_own_time():
    turns, first, second = two_rounds()
    spans = turns.spans
    assert events(spans, 0) == close(
        [
            ("download_adapter", -1, 0, 4),
            ("client_forward", 1, 4, 5),
            ("upload_activations", 1, 5, 7),
            ("server_step", 1, 7, 10),
            ("download_gradients", 1, 10, 11),
            ("client_backward", 1, 11, 13),
            ("client_optimizer", 1, 13, 13.5),
            ("client_forward", 2, 13.5, 14.5),
            ("upload_activations", 2, 14.5, 16.5),
            ("server_step", 2, 16.5, 19.5),
            ("download_gradients", 2, 19.5, 20.5),
            ("client_backward", 2, 20.5, 22.5),
            ("client_optimizer", 2, 22.5, 23),
            ("upload_adapter", -1, 23, 26),
            ("download_adapter", -1, 26, 30),  # it goes on at once, from the first adapter
            ("client_forward", 1, 30, 31),  # while the first round ends, at 30.1
            ("upload_activations", 1, 31, 33),
            ("server_step", 1, 33, 36),
            ("download_gradients", 1, 36, 37),
            ("client_backward", 1, 37, 39),
            ("client_optimizer", 1, 39, 39.5),
            ("upload_adapter", -1, 39.5, 42.5),
            ("round_wait", -1, 42.5, 47.7),  # it rests
        ]
    )
    assert events(spans, 1) == close(
        [
            ("download_adapter", -1, 0, 4),
            ("client_forward", 1, 4, 5.6),
            ("upload_activations", 1, 5.6, 7.6),
            ("server_wait", 1, 7.6, 10),
            ("server_step", 1, 10, 13),
            ("download_gradients", 1, 13, 14),
            ("client_backward", 1, 14, 16),
            ("client_optimizer", 1, 16, 16.5),
            ("client_forward", 2, 16.5, 18.1),
            ("upload_activations", 2, 18.1, 20.1),
            ("server_step", 2, 20.1, 23.1),
            ("download_gradients", 2, 23.1, 24.1),
            ("client_backward", 2, 24.1, 26.1),
            ("client_optimizer", 2, 26.1, 26.6),
            ("upload_adapter", -1, 26.6, 29.6),
            ("round_wait", -1, 29.6, 30.1),  # the buffer is full: the newest adapter is in the making
            ("download_adapter", -1, 30.1, 34.1),
            ("client_forward", 1, 34.1, 35.7),
            ("upload_activations", 1, 35.7, 37.7),
            ("server_step", 1, 37.7, 40.7),
            ("download_gradients", 1, 40.7, 41.7),
            ("client_backward", 1, 41.7, 43.7),
            ("client_optimizer", 1, 43.7, 44.2),
            ("upload_adapter", -1, 44.2, 47.2),
            ("round_wait", -1, 47.2, 47.7),
        ]
    )
    assert events(spans, -1) == close([("aggregate", -1, 29.6, 30.1), ("aggregate", -1, 47.2, 47.7)])
    assert (first.end_s, second.end_s) == (pytest.approx(30.1, rel=1e-9), pytest.approx(47.7, rel=1e-9))
    # what was sent in a round counts there, whoever goes on: in the first one client 0's second download, too
    assert first.sent_bytes == {
        "download_adapter": 3 * 4 * MB,
        "upload_activations": 4 * 2 * MB,
        "download_gradients": 4 * MB,
        "upload_adapter": 2 * 3 * MB,
    }
    assert second.sent_bytes == {
        "download_adapter": 4 * MB,
        "upload_activations": 2 * 2 * MB,
        "download_gradients": 2 * MB,
        "upload_adapter": 2 * 3 * MB,
    }
    assert sum((first.sent_bytes + second.sent_bytes).values()) == spans.num_bytes.sum()


def test_the_log_says_how_old_the_adapter_of_each_result_is():
    _, first, second = two_rounds()
    assert [(c.plan.client, c.plan.turn, c.staleness, c.status) for c in first.clients] == [
        (0, 1, 0, "finished"),
        (1, 1, 0, "finished"),
    ]
    assert (first.version, first.versions_in_use) == (0, (0,))  # client 0 is at work on the first adapter
    assert [(c.plan.client, c.staleness) for c in second.finished] == [(0, 1), (1, 0)]
    assert (second.version, second.versions_in_use) == (1, ())
    assert second.clients[0].start_s == pytest.approx(26, rel=1e-9)  # in the round before


def test_what_is_staler_than_allowed_is_charged_and_discarded():
    _, _, second = two_rounds(max_staleness=0)
    assert [(c.plan.client, c.status) for c in second.clients] == [(0, "stale"), (1, "finished")]
    # nobody is at work after 47.2, though the buffer is not full: one result is aggregated, in 0.25 s
    assert second.end_s == pytest.approx(47.45, rel=1e-9)
    assert second.clients[0].num_bytes["upload_adapter"] == 3 * MB


def test_who_hands_in_while_the_server_aggregates_is_of_the_next_round():
    # Both hand in alone at 16.5 and, waiting for the server, at 19.5; an aggregation of one result takes 4 s.
    costs = HandCosts(forward_s=(1.0, 1.0))
    costs.aggregate_s = lambda handed_in: 4.0 * len(handed_in)
    turns = Turns(costs, 2, buffer_size=1)
    first = turns.round([plan(0, turn=1), plan(1, turn=1)])
    assert [c.plan.client for c in first.clients] == [0]
    assert first.end_s == pytest.approx(20.5, rel=1e-9)
    second = turns.round([])
    assert [(c.plan.client, c.staleness) for c in second.clients] == [(1, 1)]
    assert (second.start_s, second.end_s) == (pytest.approx(20.5), pytest.approx(24.5))
    assert first.sent_bytes["upload_adapter"] == 2 * 3 * MB
    assert sum(second.sent_bytes.values()) == 0


def test_who_goes_or_fails_or_is_late_does_not_start_again_in_the_round():
    asked = []

    def again(before):
        asked.append(before.client)

    turns = Turns(HandCosts(forward_s=(1.0, 1.0, 9.0)), 3, again=again, buffer_size=9)
    plans = [plan(0, leaves_s=6.0), plan(1, fails_frac=0.25), plan(2)]
    log = turns.round([replace(p, turn=1) for p in plans], Terms(deadline_s=20.0))
    # client 1 fails after a quarter of 16.5 s; client 2 is stopped at 20, and nobody is left
    assert [(c.plan.client, c.status) for c in log.clients] == [(1, "dropped"), (0, "dropped"), (2, "late")]
    assert log.end_s == pytest.approx(20, rel=1e-9)
    assert asked == []
    assert log.finished == ()
    assert events(turns.spans, 0)[-1] == close([("offline", -1, 6, 20)])[0]
    assert turns.round([plan(0, turn=2)]).version == 0  # nothing had been aggregated


def test_what_is_under_way_when_a_run_ends_is_unfinished_and_its_bytes_are_known():
    turns = Turns(HandCosts(forward_s=(1.0, 1.6)), 2, buffer_size=1)
    turns.round([plan(0, turn=1), plan(1, turn=1)])
    # client 0 hands in at 16.5; at 16.75 client 1 has the adapter and the activations behind it and is at its backward
    (left,) = turns.buffer.unfinished()
    assert (left.plan.client, left.status, left.staleness) == (1, "unfinished", 1)
    assert left.end_s == pytest.approx(16.75)
    assert left.num_bytes == {"download_adapter": 4 * MB, "upload_activations": 2 * MB, "download_gradients": MB}


def test_a_client_may_have_several_turns_in_a_round():
    turns = Turns(HandCosts(), 1, again=once({0: plan(0, turn=2)}))
    log = turns.round([plan(0, turn=1)])
    assert [(c.plan.turn, c.staleness, c.end_s) for c in log.finished] == [
        (1, 0, pytest.approx(16.5)),
        (2, 0, pytest.approx(33)),
    ]
    assert log.end_s == pytest.approx(33.5)


def test_a_server_by_priority_serves_the_turn_with_the_largest_remaining_lag_first():
    # Client 0 is at the server from 7 to 10 s; client 1 comes at 7.5 s with one step to go, client 2 at 8 s with three.
    costs, started = HandCosts(forward_s=(1.0, 1.5, 2.0)), {}
    for discipline in ("fifo", "priority"):
        turns = Turns(costs, 3, buffer_size=3, discipline=discipline)
        turns.round([plan(0, turn=1), plan(1, turn=1), plan(2, num_steps=3, turn=1)])
        steps = turns.spans[(turns.spans.kind == "server_step") & (turns.spans.step == 1)]
        started[discipline] = steps.set_index("client").start_s.sort_index().tolist()
    assert started["fifo"] == pytest.approx([7, 10, 13])
    assert started["priority"] == pytest.approx([7, 13, 10])


def test_a_turn_has_the_deadline_of_the_round_in_which_it_begins():
    # Client 0 goes on at 16.5, in the first round, which has no deadline: it hands in at 33. Client 1, with which the
    # round is over, and client 0's third turn begin in the second and are stopped 10 s later.
    following = [plan(0, turn=2), plan(0, turn=3)]
    turns = Turns(
        HandCosts(forward_s=(1.0, 1.6)), 2, again=lambda before: following.pop(0) if not before.client else None
    )
    turns.round([plan(0, turn=1), plan(1, turn=1)])
    log = turns.round([plan(1, turn=2)], Terms(deadline_s=10.0))
    assert [(c.plan.client, c.plan.turn, c.status) for c in log.clients] == [
        (1, 2, "late"),
        (0, 2, "finished"),
        (0, 3, "late"),
    ]
    assert log.clients[2].end_s - log.clients[2].start_s == pytest.approx(10, rel=1e-9)
