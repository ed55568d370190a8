"""What holds in every protocol whoever goes, fails, is late or not needed; and what protocols have in common."""

import math
from functools import partial
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.protocols import fed_lora, local_loss, sfl_pipelined, sfl_v1, sfl_v2, sl, u_shape
from simulator.protocols.fedbuff import FedBuff
from tests.simulator.protocols.test_faults import rounds
from tests.simulator.small_rounds import MB, HandCosts, plan, play, small_world
from workloads.interleaved_tasks import Interleaving
from workloads.tasks import RULES_WITH_SHARED_SERVER

ROUNDS = {
    "sl": sl.run_round,
    "sfl-v1": sfl_v1.run_round,
    "sfl-v2": sfl_v2.run_round,
    "sfl-pipelined": partial(sfl_pipelined.run_round, num_parts=2),
    "local-loss": local_loss.run_round,
    "u-shape": u_shape.run_round,
    "fed-lora": fed_lora.run_round,
}
KINDS = (*ROUNDS, "fedbuff")
OVERLAPPING = ("sfl-pipelined", "local-loss")
SERVERS = [
    (1, "fifo"),
    (1, "priority"),
    (2, "fifo"),
    (3, "priority"),
    (1, "processor-sharing"),
    (2, "processor-sharing"),
]
"""Slots and disciplines; those that step one adapter have one slot and do not share it (`simulator.serving`)."""
ONE_ADAPTER = [(1, "fifo"), (1, "priority")]


def servers(kind):
    return st.sampled_from(ONE_ADAPTER if kind in RULES_WITH_SHARED_SERVER else SERVERS)


def once_more():
    """Return what lets each client take two more turns of a step."""
    left = {}

    def again(before):
        left[before.client] = left.get(before.client, 0) + 1
        return plan(before.client, leaves_s=before.leaves_s) if left[before.client] <= 2 else None

    return again


def play_two(kind, case, server=(1, "fifo")):
    """Run two rounds in one world, whatever happens, and let everything end; return (logs, spans, transfers)."""
    world, writer = small_world(
        HandCosts(forward_s=case["forward_s"], label_bytes=case["label_bytes"]),
        num_clients=len(case["forward_s"]),
        latency_s=case["latency_s"],
        server_uplink=case["server_uplink"],
        outages_s=case["outages_s"],
        fast_forward=False,  # every message is watched
        slots=server[0],
        discipline=server[1],
    )
    transfers, send = [], world.network.send

    def watched(*arguments):
        transfers.append(send(*arguments))
        return transfers[-1]

    world.network.send = watched
    buffer = FedBuff(buffer_size=2, max_staleness=1, again=once_more())
    run = buffer.run_round if kind == "fedbuff" else ROUNDS[kind]
    logs = []
    for number, (start_s, plans) in enumerate(zip((0.0, 50.0), case["plans"], strict=True), start=1):
        world.wait_until(start_s)
        still = [p for p in plans if p.leaves_s > world.env.now and p.client not in buffer.busy]
        if still:
            logs.append(run(world, number, still, case["terms"]))
    world.env.run(until=world.env.now + 10_000.0)  # what is under way in nobody's round ends
    writer.spans.flush_round(9)
    return logs, writer.records().spans, transfers


def most_at_once(spans):
    """Return how many of the spans there are at most at a time; what begins as another ends comes after it."""
    times = [(end_s, -1) for end_s in spans.end_s] + [(start_s, 1) for start_s in spans.start_s]
    return max(accumulate(step for _, step in sorted(times)), default=0)


def never_overlap(spans):
    return most_at_once(spans[spans.end_s > spans.start_s]) <= 1


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), case=rounds())
def test_every_run_ends_every_byte_is_accounted_and_nothing_is_in_two_places(kind, data, case):
    slots, discipline = server = data.draw(servers(kind))
    logs, spans, transfers = play_two(kind, case, server)  # it has come back: nobody waits for what cannot happen
    assert all(transfer.triggered for transfer in transfers)
    assert spans.num_bytes.sum() == sum(round(transfer.value) for transfer in transfers)
    if kind != "fedbuff":
        assert sum(sum(c.num_bytes.values()) for log in logs for c in log.clients) == spans.num_bytes.sum()
    # no more at the server than it has slots, whoever it serves; one processor and one connection each way for a client
    if discipline != "processor-sharing":
        served = spans[(spans.actor == "server") & (spans.kind != "aggregate") & (spans.end_s > spans.start_s)]
        assert most_at_once(served) <= slots
    assert never_overlap(spans[spans.kind == "aggregate"])
    for _, own in spans[spans.client >= 0].groupby(["client", "actor"], observed=True):
        assert never_overlap(own)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), case=rounds())
def test_every_instant_of_a_participant_is_covered_whatever_happens(kind, data, case):
    logs, spans, _ = play_two(kind, case, data.draw(servers(kind)))
    for log in logs:
        for c in log.clients:
            start_s, end_s = (c.start_s, c.end_s) if kind == "fedbuff" else (log.start_s, log.end_s)
            own = spans[(spans.client == c.plan.client) & (spans.start_s >= start_s) & (spans.end_s <= end_s)]
            own = own.sort_values(["start_s", "span_id"])
            if start_s < end_s:
                assert (own.start_s.iloc[0], own.end_s.max()) == (start_s, end_s)
            until_s = np.maximum.accumulate(own.end_s.to_numpy())[:-1]
            begins_s = own.start_s.to_numpy()[1:]
            assert (begins_s <= until_s).all() if kind in OVERLAPPING else (begins_s == until_s).all()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(data=st.data(), case=rounds())
def test_the_same_case_gives_the_same_spans_to_the_bit(kind, data, case):
    server = data.draw(servers(kind))
    assert play_two(kind, case, server)[1].equals(play_two(kind, case, server)[1])


@pytest.mark.parametrize("kind", ["sl", "sfl-v2"])
@settings(max_examples=40, deadline=None)
@given(data=st.data(), case=rounds())
def test_the_order_of_a_server_with_one_adapter_can_be_learned_whoever_fails(kind, data, case):
    logs, _, _ = play_two(kind, case, data.draw(servers(kind)))
    for log in logs:
        members = list(dict.fromkeys(client for client, _ in log.order))
        order = tuple((members.index(client), step - 1) for client, step in log.order)
        names = tuple(map(str, members))
        # It refuses an order that members cannot have: steps out of order, or in `sl` turns in each other.
        Interleaving(members=names, hands_in=(True,) * len(names), order=order, relayed=kind == "sl", server=None)
        for c in log.clients:
            assert sum(client == c.plan.client for client, _ in log.order) >= c.num_steps


# --- what protocols have in common


def alone(run, num_clients, forward_s, num_steps):
    """Play a round in which clients never meet at the server or on its links: its slots are as many as clients."""
    costs = HandCosts(forward_s=forward_s, server_step_s=0.0, label_bytes=1000)
    costs.aggregate_s = lambda _: 0.0
    return play(costs, num_clients=num_clients, num_steps=num_steps, run=run, latency_s=0.01)[0]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.1, 3.0), min_size=1, max_size=4), st.integers(1, 3))
def test_without_contention_sl_is_the_sum_of_its_clients_paths_and_v1_their_maximum(forward_s, num_steps):
    num_clients = len(forward_s)
    # Without the server's 3 s a step is 6.5 s with 1 s forward; labels take 1 ms more, and messages 0.01 s each:
    # two in a step, and the adapter's both ways.
    paths = [4 + 3 + 0.02 + num_steps * (5.5 + forward + 0.001 + 0.02) for forward in forward_s]
    logs = {name: alone(ROUNDS[name], num_clients, tuple(forward_s), num_steps) for name in ("sl", "sfl-v1", "sfl-v2")}
    assert logs["sl"].end_s == pytest.approx(math.fsum(paths), rel=1e-9)
    assert logs["sfl-v1"].end_s == logs["sfl-v2"].end_s == pytest.approx(max(paths), rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.1, 3.0), min_size=1, max_size=4), st.integers(1, 3))
def test_the_traffic_of_sl_v1_v2_and_fedbuff_is_the_same(forward_s, num_steps):
    sent = []
    for name in ("sl", "sfl-v1", "sfl-v2", "fedbuff"):
        again = FedBuff(buffer_size=len(forward_s), max_staleness=0, again=lambda _: None)
        run = again.run_round if name == "fedbuff" else ROUNDS[name]
        log, spans = play(
            HandCosts(forward_s=tuple(forward_s), label_bytes=1000),
            num_clients=len(forward_s),
            num_steps=num_steps,
            run=run,
            server_uplink=1.5 * MB,
        )
        sent.append({c.plan.client: c.num_bytes for c in log.clients})
        assert len(log.finished) == len(forward_s)
        assert spans.num_bytes.sum() == sum(sum(c.num_bytes.values()) for c in log.clients)
    assert sent[0] == sent[1] == sent[2] == sent[3]
