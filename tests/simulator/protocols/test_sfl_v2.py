"""SplitFed V2 on the clock: a round of two clients and two steps, by hand, and the order of the server's steps."""

import pytest

from simulator.protocols import sfl_v1, sfl_v2
from tests.simulator.small_rounds import WHOLE_ROUND_BYTES, HandCosts, close, events, plan, play

TWO_BY_TWO = {
    # Client 1 computes half a second longer. At the server: client 0 from 7 on, client 1 from 7.5.
    0: [
        ("download_adapter", -1, 0, 4),
        ("client_forward", 1, 4, 5),
        ("upload_activations", 1, 5, 7),
        ("server_step", 1, 7, 10),
        ("download_gradients", 1, 10, 11),
        ("client_backward", 1, 11, 13),
        ("client_optimizer", 1, 13, 13.5),
        ("client_forward", 2, 13.5, 14.5),
        ("upload_activations", 2, 14.5, 16.5),
        ("server_step", 2, 16.5, 19.5),  # client 1 was done at 13
        ("download_gradients", 2, 19.5, 20.5),
        ("client_backward", 2, 20.5, 22.5),
        ("client_optimizer", 2, 22.5, 23),
        ("upload_adapter", -1, 23, 26),
        ("round_wait", -1, 26, 30),
    ],
    1: [
        ("download_adapter", -1, 0, 4),
        ("client_forward", 1, 4, 5.5),
        ("upload_activations", 1, 5.5, 7.5),
        ("server_wait", 1, 7.5, 10),
        ("server_step", 1, 10, 13),
        ("download_gradients", 1, 13, 14),
        ("client_backward", 1, 14, 16),
        ("client_optimizer", 1, 16, 16.5),
        ("client_forward", 2, 16.5, 18),
        ("upload_activations", 2, 18, 20),
        ("server_step", 2, 20, 23),
        ("download_gradients", 2, 23, 24),
        ("client_backward", 2, 24, 26),
        ("client_optimizer", 2, 26, 26.5),
        ("upload_adapter", -1, 26.5, 29.5),
        ("round_wait", -1, 29.5, 30),
    ],
    -1: [("aggregate", -1, 29.5, 30)],  # 0.25 s for each of two
}


@pytest.mark.parametrize("protocol", [sfl_v1, sfl_v2])
def test_two_clients_take_two_steps_at_one_server(protocol):
    log, spans = play(HandCosts(forward_s=(1.0, 1.5)), num_clients=2, num_steps=2, run=protocol.run_round)
    assert {client: events(spans, client) for client in (0, 1, -1)} == {
        client: close(expected) for client, expected in TWO_BY_TWO.items()
    }
    assert log.end_s == pytest.approx(30, rel=1e-9)
    assert [c.num_bytes for c in log.clients] == [WHOLE_ROUND_BYTES] * 2
    assert log.order == (((0, 1), (1, 1), (0, 2), (1, 2)) if protocol is sfl_v2 else ())


def test_the_order_is_that_of_arrival_at_the_server():
    log, _ = play(HandCosts(forward_s=(1.0, 1.5, 1.2)), num_clients=3, run=sfl_v2.run_round)
    assert log.order == ((0, 1), (2, 1), (1, 1))  # they arrive at 7, 7.5 and 7.2


def test_of_a_client_that_goes_the_order_holds_what_the_server_did_for_it():
    # served 7 .. 10; it goes at 8, and the server ends the step for nobody
    log, _ = play(HandCosts(forward_s=(1.0, 1.5)), [plan(0, leaves_s=8.0), plan(1)], run=sfl_v2.run_round)
    assert [c.status for c in log.clients] == ["dropped", "finished"]
    assert log.order == ((0, 1), (1, 1))


def test_who_goes_while_it_waits_was_never_served():
    # client 1 would be served 10 .. 13 and goes at 9
    log, _ = play(HandCosts(forward_s=(1.0, 1.5)), [plan(0), plan(1, leaves_s=9.0)], run=sfl_v2.run_round)
    assert log.order == ((0, 1),)


def test_a_step_that_ends_after_the_round_does_not_count():
    log, _ = play(HandCosts(), [plan(0, leaves_s=8.0)], run=sfl_v2.run_round)
    assert (log.end_s, log.order) == (pytest.approx(8, rel=1e-9), ())
