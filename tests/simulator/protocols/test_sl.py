"""Split learning on the clock: a round of two clients and two steps, by hand, and what happens when clients go."""

import pytest

from simulator.protocols import sl
from simulator.protocols.rounds import Terms
from simulator.records.runs import SERVER_CLIENT
from tests.simulator.small_rounds import WHOLE_ROUND_BYTES, HandCosts, close, events, plan, play

# Alone a client's turn of one step is 4 s (adapter down) + 9.5 s (forward 1, up 2, server 3, down 1, backward 2,
# optimizer 0.5) + 3 s (adapter up) = 16.5 s, and of two steps 26 s; see `HandCosts`.


def step(number, start):
    """Return the events of a step that starts then."""
    return [
        ("client_forward", number, start, start + 1),
        ("upload_activations", number, start + 1, start + 3),
        ("server_step", number, start + 3, start + 6),
        ("download_gradients", number, start + 6, start + 7),
        ("client_backward", number, start + 7, start + 9),
        ("client_optimizer", number, start + 9, start + 9.5),
    ]


def turn(start):
    """Return the events of a turn of two steps that starts then."""
    return [
        ("download_adapter", -1, start, start + 4),
        *step(1, start + 4),
        *step(2, start + 13.5),
        ("upload_adapter", -1, start + 23, start + 26),
    ]


def test_two_clients_take_their_turns_of_two_steps_one_after_the_other():
    log, spans = play(HandCosts(forward_s=(1.0, 1.0)), num_clients=2, num_steps=2, run=sl.run_round)
    assert events(spans, 0) == close([*turn(0), ("round_wait", -1, 26, 52)])
    assert events(spans, 1) == close([("round_wait", -1, 0, 26), *turn(26)])
    assert set(spans.client) == {0, 1}  # nothing is aggregated
    assert log.end_s == pytest.approx(52, rel=1e-9)
    assert log.order == ((0, 1), (0, 2), (1, 1), (1, 2))
    assert [c.num_bytes for c in log.clients] == [WHOLE_ROUND_BYTES] * 2


def test_the_cause_of_a_turn_is_the_end_of_the_one_before():
    _, spans = play(HandCosts(forward_s=(1.0, 1.0)), num_clients=2, run=sl.run_round)
    handed_in = spans[(spans.client == 0) & (spans.kind == "upload_adapter")].iloc[0]
    fetched = spans[(spans.client == 1) & (spans.kind == "download_adapter")].iloc[0]
    assert fetched.cause_id == handed_in.span_id


def test_a_turn_passes_on_when_a_client_goes_in_it_or_before_it():
    # client 0 is served 7 .. 10 and goes at 10.5; client 1 has gone at 5, before its turn
    plans = [plan(0, leaves_s=10.5), plan(1, leaves_s=5.0), plan(2)]
    log, spans = play(HandCosts(forward_s=(1.0,) * 3), plans, run=sl.run_round)
    assert [c.status for c in log.clients] == ["dropped", "dropped", "finished"]
    assert events(spans, 1) == close([("round_wait", -1, 0, 5), ("offline", -1, 5, 27)])
    assert events(spans, 2)[:2] == close([("round_wait", -1, 0, 10.5), ("download_adapter", -1, 10.5, 14.5)])
    assert log.order == ((0, 1), (2, 1))  # the server's step for client 0 stays


def test_a_step_that_the_server_ends_for_nobody_counts_and_keeps_the_next_client_waiting():
    # Client 0 is served 7 .. 16 and goes at 8. Client 1 fetches 16 .. 20: among what it is sent may be blocks that were
    # the server's for client 0, which is at work on them until then.
    log, spans = play(
        HandCosts(forward_s=(1.0, 1.0), server_step_s=9.0), [plan(0, leaves_s=8.0), plan(1)], run=sl.run_round
    )
    assert log.order == ((0, 1), (1, 1))
    assert events(spans, 1)[:3] == close(
        [("round_wait", -1, 0, 8), ("round_wait", -1, 8, 16), ("download_adapter", -1, 16, 20)]
    )
    assert log.clients[1].start_s == pytest.approx(16, rel=1e-9)
    fetched = spans[spans.kind == "download_adapter"].iloc[-1]
    rest = spans[(spans.kind == "server_step") & (spans.client == SERVER_CLIENT)].iloc[0]
    assert fetched.cause_id == rest.span_id


def test_who_goes_while_the_server_ends_a_step_for_nobody_gives_its_place_to_the_next():
    plans = [plan(0, leaves_s=8.0), plan(1, leaves_s=12.0), plan(2)]
    log, _ = play(HandCosts(forward_s=(1.0,) * 3, server_step_s=9.0), plans, run=sl.run_round)
    assert [c.status for c in log.clients] == ["dropped", "dropped", "finished"]
    assert log.order == ((0, 1), (2, 1))
    assert log.clients[2].start_s == pytest.approx(16, rel=1e-9)
    # fetches .. 20, forward .. 21, upload .. 23, the server .. 32, gradients .. 33, backward .. 35.5, adapter .. 38.5
    assert log.end_s == pytest.approx(38.5, rel=1e-9)


def test_a_client_fails_after_its_part_of_its_own_turn():
    # client 1's turn begins at 16.5 and would take 16.5 s
    log, _ = play(HandCosts(forward_s=(1.0, 1.0)), [plan(0), plan(1, fails_frac=0.25)], run=sl.run_round)
    assert [c.status for c in log.clients] == ["finished", "dropped"]
    assert log.clients[1].end_s == pytest.approx(16.5 * 1.25, rel=1e-9)


def test_a_deadline_stops_those_whose_turn_has_not_come():
    log, _ = play(HandCosts(forward_s=(1.0,) * 3), num_clients=3, terms=Terms(deadline_s=20.0), run=sl.run_round)
    assert [c.status for c in log.clients] == ["finished", "late", "late"]
    assert log.end_s == pytest.approx(20, rel=1e-9)
    assert log.order == ((0, 1),)
