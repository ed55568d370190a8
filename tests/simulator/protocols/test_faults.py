"""Clients that go, fail, come too late or are not needed: what is charged and what is discarded, derived by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.clock.alone import path_s
from simulator.protocols.rounds import Terms
from simulator.protocols.sfl_v1 import client_round, run_round
from tests.simulator.small_rounds import MB, HandCosts, plan, play, small_world, times

# Alone a client computes 4 .. 5, uploads 5 .. 7, is served 7 .. 10, downloads until 11, computes until 13.5 and hands
# in 13.5 .. 16.5 (see `HandCosts`). The server aggregates 0.25 s for each client that has handed in.


def close(expected):
    return pytest.approx(expected, rel=1e-9)


def row(spans, client, kind):
    return spans[(spans.client == client) & (spans.kind == kind)].iloc[0]


# --- a client goes


def test_a_client_that_goes_in_mid_upload_has_sent_what_has_arrived():
    # 1 s of 2 MB at 1 MB/s. The other one computes until 5.5, uploads until 7.5, has the server to itself until 10.5
    # and hands in 14 .. 17; the aggregation is of one.
    log, spans = play(HandCosts(forward_s=(1.0, 1.5)), [plan(0, leaves_s=6.0), plan(1)])
    gone = times(spans, 0)
    assert gone["upload_activations"] == close((5, 6))
    assert row(spans, 0, "upload_activations").num_bytes == 1 * MB
    assert gone["offline"] == close((6, 17.25))
    assert "server_step" not in gone
    assert [c.status for c in log.clients] == ["dropped", "finished"]
    assert (log.clients[0].end_s, log.clients[1].end_s, log.end_s) == close((6, 17, 17.25))


def test_a_client_that_goes_before_its_message_has_crossed_the_latency_has_sent_nothing():
    # adapter down 0.1 + 4, forward 1: the upload starts at 5.1 and its first byte would move at 5.2
    _, spans = play(HandCosts(), [plan(0, leaves_s=5.15)], latency_s=0.1)
    assert times(spans, 0)["upload_activations"] == close((5.1, 5.15))
    assert row(spans, 0, "upload_activations").num_bytes == 0


def test_what_a_client_was_computing_is_charged_until_it_goes():
    log, spans = play(HandCosts(), [plan(0, leaves_s=12.0)])
    assert times(spans, 0)["client_backward"] == close((11, 12))
    assert log.clients[0].seconds["client_backward"] == close(1)
    assert log.clients[0].num_steps == 0  # it was in its first step


def test_a_client_that_goes_while_it_waits_gives_its_place_in_the_queue_up():
    # client 0 is served 7 .. 10. Clients 1 and 2 come at 7.5 and 8; client 1 goes at 9, so client 2 is next, 10 .. 13.
    plans = [plan(0), plan(1, leaves_s=9.0), plan(2)]
    _, spans = play(HandCosts(forward_s=(1.0, 1.5, 2.0)), plans)
    assert times(spans, 1)["server_wait"] == close((7.5, 9))
    assert times(spans, 2)["server_step"] == close((10, 13))


def test_the_server_ends_a_step_whose_client_has_gone():
    # served from 7; the client goes at 8. The server works on until 10, and only then takes the next one.
    _, spans = play(HandCosts(forward_s=(1.0, 1.5)), [plan(0, leaves_s=8.0), plan(1)])
    assert times(spans, 0)["server_step"] == close((7, 8))
    rest = row(spans, -1, "server_step")
    assert (rest.start_s, rest.end_s, rest.step) == close((8, 10, 1))
    assert times(spans, 1)["server_step"] == close((10, 13))
    assert row(spans, 1, "server_step").cause_id == rest.span_id


def test_steps_completed_before_a_client_goes_are_counted_and_discarded():
    # a step is 9.5 s: the second one is 13.5 .. 23
    log, _ = play(HandCosts(), [plan(0, num_steps=3, leaves_s=20.0)])
    assert (log.clients[0].num_steps, log.finished) == (1, ())


def test_a_client_may_go_once_it_has_handed_in():
    # it hands in at 16.5 and goes at 17; the other one is served 10 .. 13 and hands in at 19.5
    log, spans = play(HandCosts(forward_s=(1.0, 1.5)), [plan(0, leaves_s=17.0), plan(1)])
    assert [c.status for c in log.clients] == ["finished", "finished"]
    assert times(spans, 0)["round_wait"] == close((16.5, 20))


def test_what_ends_at_the_very_moment_of_a_departure_has_ended():
    log, _ = play(HandCosts(), [plan(0, leaves_s=16.5)])
    assert log.clients[0].status == "finished"


def test_a_round_that_nobody_finishes_has_no_aggregation_and_ends_with_the_last_to_go():
    log, spans = play(HandCosts(forward_s=(1.0, 1.5)), [plan(0, leaves_s=6.0), plan(1, leaves_s=9.0)])
    assert log.end_s == close(9)
    assert log.finished == ()
    assert "aggregate" not in set(spans.kind)
    assert times(spans, 0)["offline"] == close((6, 9))


# --- a client fails


def test_how_long_a_round_takes_a_client_alone_is_its_path_without_waiting():
    world, _ = small_world(HandCosts(label_bytes=1 * MB), latency_s=0.1)
    # 16.5, 1 MB of labels, four messages with a latency each
    assert path_s(world, 1, plan(0), client_round) == close(16.5 + 1 + 0.4)
    assert world.env.now == 0


def test_a_client_fails_after_a_part_of_that_time():
    log, spans = play(HandCosts(), [plan(0, fails_frac=0.25)])
    assert times(spans, 0)["client_forward"] == close((4, 4.125))  # 16.5 / 4
    assert log.clients[0].status == "dropped"


def test_what_comes_first_counts_failing_or_going():
    log, _ = play(HandCosts(), [plan(0, fails_frac=0.5, leaves_s=5.0)])
    assert log.clients[0].end_s == close(5)


# --- a deadline, more clients than are needed


def test_a_deadline_cuts_the_slower_of_two():
    # Client 1 waits for the server until 10, is served until 13, and hands in from 16.5 on: half a second of it by 17.
    log, spans = play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2, terms=Terms(deadline_s=17.0))
    assert [c.status for c in log.clients] == ["finished", "late"]
    assert times(spans, 1)["upload_adapter"] == close((16.5, 17))
    assert row(spans, 1, "upload_adapter").num_bytes == MB // 2
    assert times(spans, -1)["aggregate"] == times(spans, 1)["round_wait"] == close((17, 17.25))
    assert log.clients[1].num_steps == 1  # completed, and discarded all the same


def test_who_hands_in_at_the_very_deadline_is_in_time():
    log, _ = play(HandCosts(), terms=Terms(deadline_s=16.5))
    assert log.clients[0].status == "finished"


def test_a_round_does_not_last_until_its_deadline_if_everybody_is_done_before():
    log, _ = play(HandCosts(), terms=Terms(deadline_s=100.0))
    assert log.end_s == close(16.75)


def test_the_first_two_of_three_count_and_the_third_is_told_to_stop():
    # Served one after the other for 2 s each: 7 .. 9, 9 .. 11, 11 .. 13. From there 6.5 s until the adapter is there:
    # 15.5, 17.5, 19.5. The third has sent 1 of its 3 MB, 16.5 .. 17.5.
    costs = HandCosts(forward_s=(1.0, 1.5, 2.0), server_step_s=2.0)
    log, spans = play(costs, num_clients=3, terms=Terms(num_needed=2))
    assert [c.status for c in log.clients] == ["finished", "finished", "surplus"]
    assert times(spans, 2)["upload_adapter"] == close((16.5, 17.5))
    assert row(spans, 2, "upload_adapter").num_bytes == 1 * MB
    assert log.end_s == close(17.5 + 2 * 0.25)


def test_if_fewer_finish_than_are_needed_the_round_ends_with_the_last_of_them():
    plans = [plan(0), plan(1, leaves_s=5.0)]
    log, _ = play(HandCosts(forward_s=(1.0, 1.0)), plans, terms=Terms(num_needed=2))
    assert [c.status for c in log.clients] == ["finished", "dropped"]
    assert log.end_s == close(16.75)


# --- the server cannot be reached


def test_messages_wait_while_the_server_is_unreachable():
    # 0.5 of the 2 MB are up at 5.5; the other 1.5 MB move 8.5 .. 10. Everything after is 3 s later.
    log, spans = play(HandCosts(), outages_s=[(5.5, 8.5)])
    assert times(spans, 0)["upload_activations"] == close((5, 10))
    assert log.end_s == close(16.75 + 3)


def test_an_outage_does_not_stop_what_the_server_computes():
    log, _ = play(HandCosts(), outages_s=[(8.0, 9.5)])  # within 7 .. 10
    assert log.end_s == close(16.75)


# --- whatever happens


moments = st.one_of(st.just(math.inf), st.floats(min_value=0.01, max_value=60.0))
fractions = st.one_of(st.none(), st.floats(min_value=0.0, max_value=1.0, exclude_max=True))


@st.composite
def rounds(draw):
    """Return the arguments of two rounds in one world."""
    num_clients = draw(st.integers(1, 5))
    steps = [draw(st.integers(1, 2)) for _ in range(num_clients)]

    def plans(start_s):
        return [
            plan(k, num_steps=steps[k], leaves_s=start_s + draw(moments), fails_frac=draw(fractions))
            for k in range(num_clients)
        ]

    return {
        "forward_s": tuple(draw(st.floats(0.1, 3.0)) for _ in range(num_clients)),
        "label_bytes": draw(st.sampled_from([0, 1000])),
        "latency_s": draw(st.sampled_from([0.0, 0.05])),
        "server_uplink": draw(st.sampled_from([0.7 * MB, 1e12])),
        "outages_s": draw(st.sampled_from([(), ((3.0, 6.0), (9.5, 30.0))])),
        "plans": [plans(0.0), plans(50.0)],
        "terms": Terms(
            num_needed=draw(st.none() | st.integers(1, num_clients)),
            deadline_s=draw(st.just(math.inf) | st.floats(1.0, 40.0)),
        ),
    }


def play_two(case):
    """Run both rounds and return (logs, spans, transfers)."""
    costs = HandCosts(forward_s=case["forward_s"], label_bytes=case["label_bytes"])
    world, writer = small_world(
        costs,
        num_clients=len(case["forward_s"]),
        latency_s=case["latency_s"],
        server_uplink=case["server_uplink"],
        outages_s=case["outages_s"],
        fast_forward=False,  # every message is watched
    )
    transfers, send = [], world.network.send

    def watched(*arguments):
        transfers.append(send(*arguments))
        return transfers[-1]

    world.network.send = watched
    logs = []
    for number, (start_s, plans) in enumerate(zip((0.0, 50.0), case["plans"], strict=True), start=1):
        world.wait_until(start_s)
        still = [p for p in plans if p.leaves_s > world.env.now]  # who has gone already is not asked
        if still:
            logs.append(run_round(world, number, still, case["terms"]))
    world.env.run(until=world.env.now + 10.0)  # the server ends what it has begun
    writer.spans.flush_round(9)
    return logs, writer.records().spans, transfers


@settings(max_examples=60, deadline=None)
@given(rounds())
def test_every_instant_of_a_participant_is_covered_by_exactly_one_span_whatever_happens(case):
    logs, spans, _ = play_two(case)
    for log in logs:
        for c in log.clients:
            own = spans[(spans.client == c.plan.client) & (spans["round"] == log.round)]
            own = own.sort_values(["start_s", "span_id"])
            assert own.start_s.iloc[0] == log.start_s
            assert own.end_s.iloc[-1] == log.end_s
            assert (own.start_s.to_numpy()[1:] == own.end_s.to_numpy()[:-1]).all()


@settings(max_examples=60, deadline=None)
@given(rounds())
def test_spans_hold_all_bytes_that_have_been_delivered_whatever_happens(case):
    logs, spans, transfers = play_two(case)
    assert all(transfer.triggered for transfer in transfers)  # delivered, or cut off
    assert spans.num_bytes.sum() == sum(round(transfer.value) for transfer in transfers)
    assert sum(sum(c.num_bytes.values()) for log in logs for c in log.clients) == spans.num_bytes.sum()
    for log in logs:
        for c in log.finished:  # all messages of whoever finished are whole
            steps = len(c.plan.steps)
            whole = {"download_adapter": 4, "upload_adapter": 3, "upload_activations": 2 * steps}
            assert {kind: c.num_bytes[kind] for kind in whole} == {kind: size * MB for kind, size in whole.items()}


@settings(max_examples=60, deadline=None)
@given(rounds())
def test_the_one_slot_of_the_server_is_never_used_twice_at_a_time_whatever_happens(case):
    _, spans, _ = play_two(case)
    served = spans[(spans.actor == "server") & (spans.kind != "aggregate")].sort_values(["start_s", "end_s"])
    assert (np.diff(served.start_s) >= 0).all()
    assert (served.start_s.to_numpy()[1:] >= served.end_s.to_numpy()[:-1]).all()


@settings(max_examples=60, deadline=None)
@given(rounds())
def test_a_round_keeps_to_its_terms_whatever_happens(case):
    logs, _, _ = play_two(case)
    terms = case["terms"]
    for log in logs:
        statuses = [c.status for c in log.clients]
        assert statuses.count("finished") <= (terms.num_needed or len(statuses))
        assert all(c.end_s <= min(log.start_s + terms.deadline_s, c.plan.leaves_s) for c in log.clients)
        if "surplus" in statuses:
            assert statuses.count("finished") == terms.num_needed
        if "late" in statuses:
            assert max(c.end_s for c in log.clients) == log.start_s + terms.deadline_s


@settings(max_examples=20, deadline=None)
@given(rounds())
def test_the_same_case_gives_the_same_spans_to_the_bit(case):
    assert play_two(case)[1].equals(play_two(case)[1])
