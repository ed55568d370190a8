from types import SimpleNamespace

from simulator.base_deltas import BaseDeltas


def settled(*clients, downloading=()):
    """Return a round's log: who computed in it, and who went while the adapter was coming down."""
    logs = [SimpleNamespace(plan=SimpleNamespace(client=k), seconds={"client_forward": 1.0}) for k in clients]
    logs += [SimpleNamespace(plan=SimpleNamespace(client=k), seconds={"download_adapter": 1.0}) for k in downloading]
    return SimpleNamespace(clients=logs)


def test_where_aggregations_leave_nothing_nobody_misses_anything():
    deltas = BaseDeltas()
    deltas.settle(settled(0, 1), ())
    assert deltas.missing(0) == ()


def test_a_client_misses_what_was_left_since_it_took_part_last():
    deltas = BaseDeltas()
    assert deltas.missing(0) == ()
    deltas.settle(settled(0, 1), (16, 8))
    assert deltas.missing(0) == deltas.missing(2) == (16, 8)  # in the first round there was nothing to take over
    deltas.settle(settled(0), (4, 4))
    assert deltas.missing(0) == (4, 4)  # it has taken over the 16 and 8
    assert deltas.missing(1) == (20, 12)
    deltas.settle(settled(1), ())  # a round that nobody finished leaves nothing
    assert deltas.missing(1) == ()
    assert deltas.missing(0) == (4, 4)


def test_a_client_that_goes_before_it_has_everything_misses_it_still():
    deltas = BaseDeltas()
    deltas.settle(settled(0, 1), (16, 8))
    deltas.settle(settled(1, downloading=[0]), (1, 1))
    assert deltas.missing(0) == (17, 9)
    assert deltas.missing(1) == (1, 1)
