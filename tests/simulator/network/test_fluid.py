"""Shared links: hand-derived times, the rules of sharing, and what must hold for any transfers."""

import itertools
import math
import random

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from simulator.network.fluid import Link, Network
from tests.simulator.messages import Sent, end_times, run

RELATIVE = 1e-12


# ---- hand-derived times


def test_two_uploads_share_the_server_uplink() -> None:
    # 0-1 s: the first alone at its own 4 B/s sends 4. From 1 s both at 6/2 = 3 B/s: the second's 3 take until 2 s, when
    # the first has sent 4 + 3 = 7 of 11; the last 4 at 4 B/s take 1 s.
    server = Link(6.0)
    first, second = (Link(4.0), server), (Link(4.0), server)
    assert end_times(Sent(0.0, first, 11.0), Sent(1.0, second, 3.0)) == [3.0, 2.0]


def test_what_a_slow_client_leaves_goes_to_the_others() -> None:
    # Clients of 1, 2, 4, 8 B/s, server 10 B/s, 6 B each: rates 1, 2, 3.5, 3.5 until 6/3.5 = 12/7 s; then 1 and 2.
    server = Link(10.0)
    ends = end_times(*(Sent(0.0, (Link(own), server), 6.0) for own in (1.0, 2.0, 4.0, 8.0)))
    assert ends == pytest.approx([6.0, 3.0, 12 / 7, 12 / 7], rel=RELATIVE)


def test_latency_is_paid_first_and_takes_no_capacity() -> None:
    # The second waits until 2 s; the first's 8 B are through at 2 s, so they never meet.
    server = Link(4.0)
    assert end_times(Sent(0.0, (server,), 8.0), Sent(0.0, (server,), 8.0, latency_s=2.0)) == [2.0, 4.0]


def test_a_message_of_zero_bytes_costs_nothing() -> None:
    assert run(Sent(1.0, (Link(1.0),), 0.0, latency_s=5.0)) == [(1.0, 0.0)]


def test_a_message_without_links_takes_its_latency() -> None:
    assert run(Sent(1.0, (), 7.0, latency_s=0.5)) == [(1.5, 7.0)]


def test_half_duplex_is_one_link_in_both_directions() -> None:
    # 4 B up and 4 B down over one link of 2 B/s: 1 B/s each.
    half = Link(2.0)
    assert end_times(Sent(0.0, (half,), 4.0), Sent(0.0, (half,), 4.0)) == [4.0, 4.0]


def test_a_cell_limits_its_clients_together_and_leaves_the_rest_to_others() -> None:
    # Two clients in a cell of 2 B/s get 1 each; the third gets 6 - 2 = 4 B/s of the server's 6.
    cell, server = Link(2.0), Link(6.0)
    inside = [(Link(9.0), cell, server), (Link(9.0), cell, server)]
    outside = (Link(9.0), server)
    assert end_times(*(Sent(0.0, route, 4.0) for route in (*inside, outside))) == [4.0, 4.0, 1.0]


def test_a_link_that_is_named_twice_carries_the_message_twice() -> None:
    # Between two clients of one cell of 4 B/s: every byte passes it up and down, so 2 B/s.
    cell = Link(4.0)
    assert end_times(Sent(0.0, (Link(9.0), cell, cell, Link(9.0)), 4.0)) == [2.0]


def test_weights_divide_a_link_in_proportion() -> None:
    # 3 : 1 of 4 B/s until 2 s; then the light one has 6 of 8 B left at 4 B/s.
    link = Link(4.0)
    assert end_times(Sent(0.0, (link,), 6.0, weight=3.0), Sent(0.0, (link,), 8.0)) == pytest.approx([2.0, 3.5])


def test_a_profile_changes_the_capacity_under_way_and_before() -> None:
    # 3 B/s from the start (the point at 0 s), 1 B/s from 2 s: 6 B by 2 s, the other 4 B by 6 s.
    link = Link(100.0, [(-1.0, 50.0), (0.0, 3.0), (2.0, 1.0)])
    assert end_times(Sent(0.0, (link,), 10.0)) == [6.0]


@pytest.mark.parametrize("beside", [1.0, 1000.0])
def test_a_transfer_stalls_while_a_link_has_no_capacity(beside: float) -> None:
    # 2 of 4 B by 1 s, nothing until 5 s, the other 2 B by 6 s: with the stalled link as the narrower or wider one.
    link = Link(2.0, [(1.0, 0.0), (5.0, 2.0)])
    assert end_times(Sent(0.0, (link, Link(2.0 * beside)), 4.0)) == [6.0]


def test_a_stalled_client_leaves_the_server_to_the_others() -> None:
    # Half of 4 B/s each until 1 s, when the first client's link fails until 5 s. The second has 6 of 8 B left: 1.5 s at
    # 4 B/s. The first then has 2 of 4 B left, from 5 s on at 4 B/s.
    server = Link(4.0)
    failing = Link(9.0, [(1.0, 0.0), (5.0, 9.0)])
    assert end_times(Sent(0.0, (failing, server), 4.0), Sent(0.0, (Link(9.0), server), 8.0)) == [5.5, 2.5]


def test_a_transfer_that_ends_when_the_capacity_goes_to_zero_has_ended() -> None:
    # Three share 1 B/s and end their 0.1 B at 0.3 s, give or take rounding, when the link stops for good.
    link = Link(1.0, [(0.3, 0.0)])
    assert end_times(*(Sent(0.0, (link,), 0.1) for _ in range(3))) == pytest.approx([0.3] * 3, rel=1e-9)


@pytest.mark.parametrize(
    ("cancel_s", "end"),
    [
        (0.5, (0.5, 0.0)),  # during the latency of 1 s
        (1.0, (1.0, 0.0)),  # as it ends
        (2.0, (2.0, 4.0)),  # one second at 4 B/s
        (3.0, (3.0, 8.0)),  # as it arrives
        (4.0, (3.0, 8.0)),  # afterwards
    ],
)
def test_a_message_can_be_cancelled_at_any_time(cancel_s: float, end: tuple[float, float]) -> None:
    assert run(Sent(0.0, (Link(4.0),), 8.0, latency_s=1.0, cancel_s=cancel_s)) == [end]


def test_a_cancelled_message_frees_its_part_at_once() -> None:
    # 2 B/s each until the first goes at 1 s with 2 B through; the other has 2 of 6 through and needs 1 s at 4 B/s.
    link = Link(4.0)
    ends = run(Sent(0.0, (link,), 8.0, cancel_s=1.0), Sent(0.0, (link,), 6.0))
    assert ends == [(1.0, 2.0), (2.0, 6.0)]


def test_simultaneous_ends_fire_in_the_order_of_sending() -> None:
    env = simpy.Environment()
    network = Network(env)
    hub = Link(4.0)
    arrived: list[int] = []

    def client(number: int) -> simpy.events.ProcessGenerator:
        yield network.send((Link(float(9 - number)), hub), 1.0)
        arrived.append(number)

    for number in range(4):
        env.process(client(number))
    env.run()
    assert arrived == [0, 1, 2, 3]
    assert env.now == 1.0


@pytest.mark.parametrize("capacity", [0.0, -1.0, math.nan, math.inf])
def test_a_link_without_a_capacity_is_refused(capacity: float) -> None:
    with pytest.raises(ValueError, match="capacity above 0"):
        Link(capacity)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ([(2.0, 1.0), (1.0, 1.0)], "must rise"),
        ([(0.0, -1.0)], "at least 0"),
        ([(0.0, math.nan)], "at least 0"),
        ([(math.inf, 1.0)], "finite times"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(profile: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Link(1.0, profile)


@pytest.mark.parametrize(
    "wrong",
    [{"num_bytes": -1.0}, {"num_bytes": math.nan}, {"latency_s": -1.0}, {"latency_s": math.inf}, {"weight": 0.0}],
)
def test_a_message_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cannot send"):
        Network(simpy.Environment()).send((Link(1.0),), **{"num_bytes": 1.0, **wrong})


# ---- what must hold for any transfers

rates = st.floats(min_value=1e-3, max_value=1e6)
sizes = st.floats(min_value=1e-3, max_value=1e6)


@given(
    st.lists(st.tuples(st.floats(0, 10), rates, sizes), min_size=1, max_size=12),
    st.floats(min_value=1e-2, max_value=1e6),
)
def test_a_server_link_that_always_has_enough_to_do_is_never_idle(
    clients: list[tuple[float, float, float]], capacity: float
) -> None:
    # All clients could fill the server's link alone and start at once: it is full until the last byte.
    hub = Link(capacity)
    messages = [Sent(0.0, (Link(capacity * (1 + own)), hub), size) for _, own, size in clients]
    assert max(end_times(*messages)) == pytest.approx(math.fsum(m.num_bytes for m in messages) / capacity, rel=1e-9)


@given(st.lists(st.tuples(st.floats(0, 10), rates, sizes, st.floats(0, 0.1)), min_size=1, max_size=12))
def test_without_contention_every_transfer_ends_at_the_very_float_that_it_would_alone(
    clients: list[tuple[float, float, float, float]],
) -> None:
    hub = Link(1e9)  # more than all clients together
    messages = [Sent(start_s, (Link(own), hub), size, latency_s) for start_s, own, size, latency_s in clients]
    expected = [(start_s + latency_s) + size / own for start_s, own, size, latency_s in clients]
    assert end_times(*messages) == expected


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.sampled_from([1.0, 2.0, 5.0]), st.floats(0.1, 20), st.floats(0, 10)), max_size=10
    ),
    st.floats(min_value=0.5, max_value=10),
    st.booleans(),
)
def test_what_is_delivered_never_exceeds_what_was_sent_nor_what_the_link_can_carry(
    clients: list[tuple[float, float, float, float]], capacity: float, in_a_cell: bool
) -> None:
    hub, cell = Link(capacity), Link(3.0)
    routes = [
        (Link(own), cell, hub) if in_a_cell and i % 2 else (Link(own), hub) for i, (_, own, _, _) in enumerate(clients)
    ]
    messages = [
        Sent(start_s, route, size, cancel_s=start_s + stay_s)
        for (start_s, _, size, stay_s), route in zip(clients, routes, strict=True)
    ]
    ends = run(*messages)
    for message, (end_s, delivered) in zip(messages, ends, strict=True):
        own = message.route[0].capacity_bytes_per_s
        assert 0.0 <= delivered <= message.num_bytes
        assert delivered <= (end_s - message.start_s) * own * (1 + 1e-9) + 1e-9
        assert delivered == message.num_bytes or end_s == pytest.approx(message.cancel_s)
    busy_s = max((end_s for end_s, _ in ends), default=0.0)
    assert sum(delivered for _, delivered in ends) <= busy_s * capacity * (1 + 1e-9) + 1e-9


@given(rates, st.floats(min_value=1.0, max_value=10.0), rates, sizes)
def test_a_faster_link_never_ends_a_lone_transfer_later(own: float, factor: float, hub: float, size: float) -> None:
    slow, fast = (end_times(Sent(0.0, (Link(capacity), Link(hub)), size))[0] for capacity in (own, own * factor))
    assert fast <= slow


# ---- long runs


def test_a_little_that_comes_after_much_is_as_exact_as_alone() -> None:
    # Two share 1e9 B/s until 100 s, when each has had 5e10 B, of which a float can tell no less than 8e-6 apart. Then
    # three share 3 B/s: the 0.1 B of the third take 0.1 s.
    link = Link(1e9, [(100.0, 3.0), (200.0, 1e9)])
    much = [Sent(0.0, (link,), 1e11), Sent(0.0, (link,), 1e11)]
    assert end_times(*much, Sent(100.0, (link,), 0.1))[2] == pytest.approx(100.1, rel=RELATIVE)


def test_the_clock_does_not_drift_over_a_hundred_thousand_transfers_without_a_pause() -> None:
    env = simpy.Environment()
    network = Network(env)
    hub = Link(1e6)
    rng = random.Random(1)
    sizes = [[rng.uniform(1.0, 1e6) for _ in range(2_000)] for _ in range(50)]

    def client(own: Link, to_send: list[float]) -> simpy.events.ProcessGenerator:
        for size in to_send:
            yield network.send((own, hub), size)

    owns = (Link(rng.choice((3e6, 2e6 + rng.random()))) for _ in sizes)  # some of one class, some all different
    env.run(env.all_of([env.process(client(own, to_send)) for own, to_send in zip(owns, sizes, strict=True)]))
    # Everybody could fill the server's link alone, so it is full from the first byte to the last.
    assert env.now == pytest.approx(math.fsum(itertools.chain(*sizes)) / hub.capacity_bytes_per_s, rel=1e-12)
    # What comes next starts from a clean sheet: alone, it ends at the very float.
    start_s = env.now
    env.run(network.send((Link(1e3), hub), 12_345.0))
    assert env.now == start_s + 12_345.0 / 1e3


def test_expired_wake_ups_do_not_pile_up() -> None:
    env = simpy.Environment()
    network = Network(env)
    hub = Link(1e3)
    for _ in range(20):
        network.send((Link(1e2), hub), 1e9)
    for number in range(5_000):
        network.send((Link(1e2 + number), hub), 1e9).cancel()
    env.run(1.0)  # the cancelled ones fire
    assert len(env._queue) < 100
    star = hub.star
    assert star is not None
    assert len(star._timed) + len(star._clocked) < 500
