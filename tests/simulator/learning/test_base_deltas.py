from types import SimpleNamespace

from simulator.learning.base_deltas import BaseDeltas


def settled(*clients, downloading=(), cut=2):
    """Return a round's log: who computed in it, and who went while the adapter was coming down."""

    def at_work(client, kind):
        return SimpleNamespace(plan=SimpleNamespace(client=client, cut=cut), seconds={kind: 1.0})

    logs = [at_work(k, "client_forward") for k in clients]
    return SimpleNamespace(clients=[*logs, *(at_work(k, "download_adapter") for k in downloading)])


def base_deltas(num_held=lambda cut: cut):
    return BaseDeltas(num_held)


def test_where_aggregations_leave_nothing_nobody_misses_anything():
    deltas = base_deltas()
    deltas.settle(settled(0, 1), ())
    assert deltas.missing(0, 2) == ()


def test_a_client_misses_what_was_left_since_it_took_part_last():
    deltas = base_deltas()
    assert deltas.missing(0, 2) == ()
    deltas.settle(settled(0, 1), (16, 8))
    assert deltas.missing(0, 2) == deltas.missing(2, 2) == (16, 8)  # in the first round there was nothing to take over
    deltas.settle(settled(0), (4, 4))
    assert deltas.missing(0, 2) == (4, 4)  # it has taken over the 16 and 8
    assert deltas.missing(1, 2) == (20, 12)
    deltas.settle(settled(1), ())  # a round that nobody finished leaves nothing
    assert deltas.missing(1, 2) == ()
    assert deltas.missing(0, 2) == (4, 4)


def test_a_client_that_goes_before_it_has_everything_misses_it_still():
    deltas = base_deltas()
    deltas.settle(settled(0, 1), (16, 8))
    deltas.settle(settled(1, downloading=[0]), (1, 1))
    assert deltas.missing(0, 2) == (17, 9)
    assert deltas.missing(1, 2) == (1, 1)


def test_a_client_misses_all_that_was_left_to_a_block_that_it_newly_holds():
    deltas = base_deltas()
    deltas.settle(settled(0, cut=1), (16, 8, 4))
    assert deltas.missing(0, 1) == (16, 8, 4)
    deltas.settle(settled(0, cut=1), (1, 1, 1))  # it has taken over the 16 of its one block
    assert deltas.missing(0, 1) == deltas.missing(0, 2) == (1, 9, 5)
    deltas.settle(settled(0, cut=2), ())
    assert deltas.missing(0, 1) == deltas.missing(0, 2) == ()  # in the blocks that it holds
    assert deltas.missing(0, 3) == (0, 0, 5)
    deltas.settle(settled(0, cut=1), (2, 2, 2))
    deltas.settle(settled(0, cut=1), ())
    assert deltas.missing(0, 1) == ()
    assert deltas.missing(0, 2) == (0, 2, 7)  # it gave block 2 up and has missed what was left to it since


def test_blocks_are_those_of_the_model_that_is_charged_for():
    deltas = base_deltas(num_held=lambda cut: 2 * cut)
    deltas.settle(settled(0, cut=1), (16, 8, 4, 2))
    deltas.settle(settled(0, cut=1), ())
    assert deltas.missing(0, 2) == (0, 0, 4, 2)
