"""What must hold for any round on any kind of connection, and the server's disciplines through the protocol."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.clock.alone import lags_s
from simulator.network.bandwidth_file import BandwidthRecord, BandwidthTrace
from simulator.network.connections import CONSTANT, Cells, Connections, ServerLinks
from simulator.protocols.sfl_v1 import client_round
from tests.simulator.random_rounds import KINDS, Case, Rates, Work, play, random_case
from tests.simulator.small_rounds import HandCosts, ends, plan, small_world, times
from tests.simulator.small_rounds import play as play_small

CASES = [(kind, seed) for kind in KINDS for seed in range(4)]
STEADY = [case for case in CASES if case[0] not in ("trace", "periodic-trace", "variation", "mixed")]


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_every_instant_of_a_participant_is_covered_by_exactly_one_span(kind, seed):
    logs, spans = play(random_case(kind, seed))
    for log in logs:
        for c in log.clients:
            own = spans[(spans.client == c.plan.client) & (spans["round"] == log.round)].sort_values("span_id")
            assert own.start_s.iloc[0] == log.start_s
            assert own.end_s.iloc[-1] == log.end_s
            assert (own.start_s.to_numpy()[1:] == own.end_s.to_numpy()[:-1]).all()


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_all_bytes_arrive_and_none_that_were_not_sent(kind, seed):
    case = random_case(kind, seed)
    logs, spans = play(case)
    for log in logs:
        for c in log.clients:
            work = case.works[c.plan.client]
            whole = case.num_steps * (work.up + work.down) + work.adapter_up + work.adapter_down
            sent = sum(c.num_bytes.values())
            assert sent == whole if c.status == "finished" else sent <= whole
    by_client = spans.groupby("client").num_bytes.sum()
    assert by_client.sum() == sum(sum(c.num_bytes.values()) for log in logs for c in log.clients)


@pytest.mark.parametrize(("kind", "seed"), CASES)
@pytest.mark.parametrize("roomy", [False, True])
def test_with_and_without_fast_forward_a_round_is_the_same_to_the_bit(kind, seed, roomy):
    case = random_case(kind, seed)
    if roomy:  # so that fast-forward can take place where links do not vary
        server = replace(case.server, uplink_bytes_per_s=1e9, downlink_bytes_per_s=1e9)
        case = replace(case, server=server, slots=len(case.works))
    (_, one), (_, other) = (play(case, fast_forward=on) for on in (True, False))
    pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize(("kind", "seed"), STEADY)
def test_no_message_is_faster_than_a_link_of_its_route(kind, seed):
    case = random_case(kind, seed)
    _, spans = play(case)
    cells = case.connections.cells
    sent = spans[spans.num_bytes > 1]
    for client, actor, num_bytes, start_s, end_s in zip(
        sent.client, sent.actor, sent.num_bytes, sent.start_s, sent.end_s, strict=True
    ):
        way = "uplink_bytes_per_s" if actor == "uplink" else "downlink_bytes_per_s"
        limits = [getattr(case.rates, way)[client], getattr(case.server, way), *(getattr(cell, way) for cell in cells)]
        # A client is in one cell: the widest bounds it in any case. A message that was cut off counts in whole bytes.
        limit = min(*limits[:2], max(limits[2:], default=math.inf))
        assert num_bytes - 0.5 <= limit * (end_s - start_s) * (1 + 1e-9)


@given(st.lists(st.integers(1_000, 9_999_999), min_size=2, max_size=6), st.booleans())
@settings(max_examples=40)
def test_a_shared_link_is_full_until_the_last_byte_is_through(sizes, half_duplex):
    # Everybody could fill the server's link or the cell alone, starts at once and sends nothing else.
    num = len(sizes)
    works = [Work(0, 0.0, size, 0.0, 0, 0.0, 0) for size in sizes]
    cell = Cells(
        first_client=0, num_clients=num, num_cells=1, uplink_bytes_per_s=1e6, downlink_bytes_per_s=1e6,
        half_duplex=half_duplex,
    )  # fmt: skip
    wide = ServerLinks(uplink_bytes_per_s=9e6, downlink_bytes_per_s=9e6, latency_s=0.0)
    narrow = replace(wide, uplink_bytes_per_s=1e6)
    for server, connections in ((wide, Connections(cells=(cell,))), (narrow, CONSTANT)):
        case = Case(
            rates=Rates([2e6] * num, [2e6] * num, [0.0] * num), server=server, works=works, connections=connections,
            slots=num, num_rounds=1, num_steps=1,
        )  # fmt: skip
        logs, _ = play(case)
        assert logs[0].end_s == pytest.approx(sum(sizes) / 1e6, rel=1e-9)


# ---- monotonicity


@st.composite
def lone_clients(draw):
    """A client alone, on any kind of connection."""
    rate = st.floats(1e4, 1e7)
    size = st.integers(0, 1_000_000)
    seconds = st.floats(0, 2)
    work = Work(draw(size), draw(seconds), draw(size), draw(seconds), draw(size), draw(seconds), draw(size))
    record = BandwidthRecord(
        times_s=(0.5, 1.0, 2.5),
        downlink_bytes_per_s=(draw(rate), 0.0, draw(rate)),
        uplink_bytes_per_s=(0.0, draw(rate), draw(rate)),
    )
    cell = Cells(
        first_client=0, num_clients=1, num_cells=1, uplink_bytes_per_s=draw(rate), downlink_bytes_per_s=draw(rate),
        half_duplex=draw(st.booleans()),
    )  # fmt: skip
    trace = draw(st.sampled_from([None, BandwidthTrace(records={"server": record}, period_s=math.inf, digest="")]))
    return Case(
        rates=Rates([draw(rate)], [draw(rate)], [draw(st.floats(0, 0.5))]),
        server=ServerLinks(uplink_bytes_per_s=draw(rate), downlink_bytes_per_s=draw(rate), latency_s=0.0),
        works=[work],
        connections=Connections(
            half_duplex_clients=draw(st.booleans()),
            half_duplex_server=draw(st.booleans()),
            cells=draw(st.sampled_from([(), (cell,)])),
            trace=trace,
        ),
        outages_s=draw(st.sampled_from([(), ((0.3, 1.7),)])),
        num_rounds=1,
    )


@settings(max_examples=60)
@given(lone_clients(), st.floats(1, 20), st.sampled_from(["uplink", "downlink", "device", "latency"]))
def test_a_faster_device_or_link_never_ends_a_lone_client_later(case, factor, what):
    rates, work = case.rates, case.works[0]
    up, down, latency_s = rates.uplink_bytes_per_s, rates.downlink_bytes_per_s, rates.latency_s
    match what:
        case "uplink":
            faster = replace(case, rates=Rates(up * factor, down, latency_s))
        case "downlink":
            faster = replace(case, rates=Rates(up, down * factor, latency_s))
        case "latency":
            faster = replace(case, rates=Rates(up, down, latency_s / factor))
        case _:
            quick = replace(work, forward_s=work.forward_s / factor, backward_s=work.backward_s / factor)
            faster = replace(case, works=[quick])
    slow_s, fast_s = (play(one)[0][0].end_s for one in (case, faster))
    assert fast_s <= slow_s * (1 + 1e-12)


# ---- disciplines of the server


def test_the_lag_of_a_client_is_what_its_round_still_takes_alone():
    # 4 (adapter) + 1 + 2, then the server's 3 + 1 + 2 + 0.5 of the first step, 1 + 2, then the same and 3 (adapter).
    world, _ = small_world(HandCosts(), discipline="priority")
    assert lags_s(world, 1, plan(0, num_steps=2), client_round) == pytest.approx((6.5 + 3 + 6.5 + 3, 6.5 + 3))


def test_a_server_by_priority_serves_the_largest_remaining_lag_first():
    # Client 0 is at the server from 7 to 10 s. Client 1 comes at 7.5 s with one step to go, client 2 at 8 s with three.
    # Client 2 is further from its end, so it is served at 10 s and client 1 at 13 s; in order of arrival, reversed.
    costs = HandCosts(forward_s=(1.0, 1.5, 2.0))
    plans = [plan(0), plan(1), plan(2, num_steps=3)]
    started = {}
    for discipline in ("fifo", "priority"):
        _, spans = play_small(costs, plans, discipline=discipline)
        first = spans[(spans.kind == "server_step") & (spans.step == 1)].set_index("client").start_s
        started[discipline] = first.sort_index().tolist()
    assert started["fifo"] == pytest.approx([7, 10, 13])
    assert started["priority"] == pytest.approx([7, 13, 10])


def test_a_server_that_is_shared_lets_nobody_wait_and_serves_each_more_slowly():
    # Both arrive at 7 s and need 3 s each of one accelerator: half the speed, until 13 s.
    _, spans = play_small(HandCosts(forward_s=(1.0, 1.0)), num_clients=2, discipline="processor-sharing")
    assert "server_wait" not in set(spans.kind)
    for client in (0, 1):
        assert times(spans, client)["server_step"] == pytest.approx((7, 13))


def test_several_slots_serve_as_many_at_once():
    _, spans = play_small(HandCosts(forward_s=(1.0, 1.0, 1.0)), num_clients=3, slots=2)
    assert [ends(spans, client)["server_step"] for client in range(3)] == pytest.approx([10, 10, 13])


def test_a_shared_server_ends_the_step_of_a_client_that_is_gone_for_nobody():
    # From 7 s both at half speed. Client 1 leaves at 9 s: its kernel goes on, so client 0 is no faster: 13 s.
    plans = [plan(0), plan(1, leaves_s=9.0)]
    _, spans = play_small(HandCosts(forward_s=(1.0, 1.0)), plans, discipline="processor-sharing")
    assert ends(spans, 0)["server_step"] == pytest.approx(13)
    rest = spans[(spans.client == -1) & (spans.kind == "server_step")]
    assert (rest.start_s.item(), rest.end_s.item()) == pytest.approx((9, 13))
