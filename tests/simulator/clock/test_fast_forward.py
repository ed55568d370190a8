"""Rounds without events against the same rounds with them: equal to the bit, or declined."""

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

import splitft
from devices.fleets import Throttle
from simulator.clock.walker import Walker
from simulator.clock.world import Participant, World
from simulator.costs.pace import Variation
from simulator.draws import generator
from simulator.network.connections import ServerLinks
from simulator.protocols import barrier
from simulator.protocols.rounds import Terms
from simulator.protocols.sfl_v1 import run_round
from simulator.records.recorder import RunWriter
from simulator.scenario import Scenario
from tests.simulator.small_rounds import MB, HandCosts, plan, small_world


@dataclass(frozen=True)
class DrawnCosts:
    """Any costs; the same for clients of the same kind."""

    kinds: Sequence[int]
    seed: int

    def _drawn(self, client, purpose):
        rng = generator(self.seed, purpose, client=self.kinds[client])
        return iter(rng.uniform(0.01, 3.0, 6).tolist()), iter(rng.integers(0, 3 * MB, 6).tolist())

    def step(self, client, cut, num_samples, length_tokens):
        s, num_bytes = self._drawn(client, "step")
        return SimpleNamespace(
            client_forward_s=next(s), activation_bytes=next(num_bytes), label_bytes=next(num_bytes) // 100,
            server_step_s=next(s) / 10, gradient_bytes=next(num_bytes), client_backward_s=next(s),
            client_optimizer_s=next(s) / 100,
        )  # fmt: skip

    def validation(self, client, cut, num_samples, length_tokens):
        s, num_bytes = self._drawn(client, "validation")
        return SimpleNamespace(
            client_forward_s=next(s), activation_bytes=next(num_bytes), label_bytes=0, server_forward_s=next(s) / 10
        )

    def round(self, client, cut, stacked):
        s, num_bytes = self._drawn(client, "round")
        return SimpleNamespace(
            adapter_download_bytes=next(num_bytes), adapter_upload_bytes=next(num_bytes),
            client_merge_s=next(s) * len(stacked),
        )  # fmt: skip

    def aggregate_s(self, handed_in):
        return 0.25 * len(handed_in)


times_s = st.floats(min_value=0.01, max_value=40.0)


HOT = Throttle(after_s=1.5, mean_frac=0.5, low_frac=0.3, high_frac=0.7)
VARIATIONS = (Variation(), Variation(), Variation(client_ln_sigma=0.2, server_ln_sigma=0.1), Variation(throttle=HOT))
WATTS = {"client": 10.0, "uplink": 3.0, "downlink": 2.0, "server": 1.0, "idle": 1.0}


@st.composite
def cases(draw):
    """Return two rounds in one world: its fleet, its server, and what the clients do in each."""
    num_clients = draw(st.integers(1, 6))
    kinds = draw(st.just(range(num_clients)) | st.lists(st.integers(0, 1), min_size=num_clients, max_size=num_clients))
    rates = draw(st.just([MB, 2.5 * MB]) | st.lists(st.floats(1e4, 1e7), min_size=6, max_size=6))

    def plans():
        validates = draw(st.booleans())
        return [
            plan(
                k,
                num_steps=draw(st.integers(1, 3)) if kinds[k] else 2,
                validate=validates,
                stacked=draw(st.sampled_from([(), (4,)])),
                leaves_s=draw(st.just(math.inf) | times_s),
                fails_frac=draw(st.none() | st.none() | st.floats(0.0, 1.0, exclude_max=True)),
            )
            for k in range(num_clients)
        ]

    own = np.array([rates[kind % len(rates)] for kind in kinds])
    return {
        "costs": DrawnCosts(kinds, draw(st.integers(0, 10**6))),
        "up": own,
        "down": 2 * own,
        "latency_s": np.array([draw(st.sampled_from([0.0, 0.05]))] * num_clients),
        "server_up": draw(st.sampled_from([float(own.sum()), 0.9 * float(own.sum()), 1e12, 1e12])),
        "slots": draw(st.sampled_from([1, 2, 6, 6])),
        "plans": (plans(), plans()),
        "variation": draw(st.sampled_from(VARIATIONS)),
        "terms": draw(
            st.just(Terms())
            | st.builds(Terms, num_needed=st.integers(1, num_clients), deadline_s=st.just(math.inf))
            | st.builds(Terms, deadline_s=times_s)
        ),
    }


def world_of(case, *, fast_forward):
    writer = RunWriter(None, {})
    fleet = SimpleNamespace(
        uplink_bytes_per_s=case["up"], downlink_bytes_per_s=case["down"], latency_s=case["latency_s"]
    )
    links = ServerLinks(uplink_bytes_per_s=case["server_up"], downlink_bytes_per_s=1e12, latency_s=0.0)
    world = World(
        fleet=fleet, server_links=links, slots=case["slots"], costs=case["costs"], spans=writer.spans,
        fast_forward=fast_forward,
        pace=case.get("variation", Variation()).pace(seed=0),
    )  # fmt: skip
    world.powers = lambda _client: WATTS
    return world, writer


def played(case, *, fast_forward):
    """Return what two rounds come to, the logs and the digest of all spans; and how many of them needed no event."""
    world, writer = world_of(case, fast_forward=fast_forward)
    logs = []
    for number, plans in enumerate(case["plans"], start=1):
        still = [p for p in plans if p.leaves_s > world.env.now]
        if still:
            logs.append(run_round(world, number, still, case["terms"]))
    world.env.run(until=world.env.now + 10.0)  # the server ends what it has begun
    writer.spans.flush_round(9)
    return (logs, writer.spans.sha256), world.num_forwarded


@settings(max_examples=250, deadline=None)
@given(cases())
def test_with_and_without_events_everything_is_equal_to_the_bit(case):
    with_events, _ = played(case, fast_forward=False)
    without, _ = played(case, fast_forward=True)
    assert without == with_events


def two_rounds(num_clients=3, **changes):
    """Return a case in which clients differ and have all the room they need."""
    case = {
        "costs": DrawnCosts(range(num_clients), 0),
        "up": np.linspace(1.0, 2.0, num_clients) * MB,
        "down": np.linspace(2.0, 3.0, num_clients) * MB,
        "latency_s": np.full(num_clients, 0.05),
        "server_up": 1e12,
        "slots": num_clients,
        "plans": ([plan(k, num_steps=2) for k in range(num_clients)],) * 2,
        "terms": Terms(),
    }
    return case | changes


def leaving(*leaves_s):
    return ([plan(k, num_steps=2, leaves_s=time_s) for k, time_s in enumerate(leaves_s)],) * 2


@pytest.mark.parametrize(
    ("changes", "num_forwarded"),
    [
        ({}, 2),
        ({"costs": DrawnCosts([0, 0, 0], 0), "up": np.full(3, MB), "down": np.full(3, MB)}, 2),  # lockstep
        ({"server_up": 4.5 * MB}, 2),  # 1 + 1.5 + 2 MB/s are just what it carries
        ({"server_up": 4.4 * MB}, 0),
        ({"server_up": 1 * MB, "plans": ([plan(0)],) * 2}, 2),  # alone
        ({"slots": 1, "costs": HandCosts(forward_s=(1.0, 1.0, 1.0))}, 0),
        ({"slots": 2}, 2),  # of the three there are never more than two at a time at the server
        ({"plans": leaving(2.0, math.inf, math.inf)}, 2),  # in the second round it has gone already
        ({"terms": Terms(num_needed=2)}, 2),  # the third is told to stop
        ({"terms": Terms(deadline_s=5.0)}, 2),
    ],
)
def test_a_round_needs_no_events_if_nobody_can_meet_anybody(changes, num_forwarded):
    case = two_rounds(**changes)
    result, num = played(case, fast_forward=True)
    assert num == num_forwarded
    assert result == played(case, fast_forward=False)[0]


def test_whoever_comes_at_the_very_end_of_anothers_turn_is_left_to_the_events():
    # served 7 .. 10 and from 7 + 3 on: the second one does not wait, but it is the first one's end that lets it in
    costs = HandCosts(forward_s=(1.0, 4.0))
    world, _ = small_world(costs, num_clients=2)
    run_round(world, 1, [plan(0), plan(1)])
    assert (world.num_forwarded, world.num_in_vain) == (0, 1)


def test_a_step_that_the_server_goes_on_with_after_the_round_is_left_to_the_events():
    # served 7 .. 10; the only client has gone at 8, and with it the round is over
    world, _ = small_world(HandCosts())
    run_round(world, 1, [plan(0, leaves_s=8.0)])
    assert (world.num_forwarded, world.env.now) == (0, 8.0)
    run_round(world, 2, [plan(0)])  # and so is the round in which it ends that
    assert world.num_forwarded == 0
    run_round(world, 3, [plan(0)])
    assert world.num_forwarded == 1


def test_rounds_are_not_tried_again_and_again_in_vain():
    world, _ = small_world(HandCosts(forward_s=(1.0, 1.0)), num_clients=2)
    for number in range(1, 6):
        run_round(world, number, [plan(0), plan(1)])
    assert (world.num_forwarded, world.num_in_vain) == (0, 3)


def test_a_link_that_varies_is_left_to_the_events():
    world, _ = small_world(HandCosts(), outages_s=[(50.0, 60.0)])
    run_round(world, 1, [plan(0)])
    assert (world.num_forwarded, world.num_in_vain) == (0, 1)


def test_a_protocol_that_waits_for_something_else_runs_on_events():
    world, _ = small_world(HandCosts())

    def client_round(me, its_plan):
        yield from me.compute("client_forward", 1.0)
        with one_at_a_time.request() as turn:
            yield turn
            yield from me.compute("client_backward", 1.0)

    one_at_a_time = simpy.Resource(world.env)
    (me,) = world.run(barrier.gather(world, 1, [plan(0)], client_round, Terms(), apart=True))
    assert (me.status, world.env.now, world.num_in_vain) == ("finished", 2.0, 1)


def test_what_a_participant_does_and_what_a_walker_does_have_the_same_form():
    for verb in ("compute", "upload", "download", "serve"):
        assert inspect.signature(getattr(Walker, verb)) == inspect.signature(getattr(Participant, verb))
    # Whatever else decides how long something takes has to be known to the walker too. If this fails, look there.
    reads = {name for verb in (Participant.compute, Participant.serve) for name in verb.__code__.co_names}
    tells = {"callbacks", "append"}  # whoever wants to know when it is served, which a walker declines
    known = {"world", "env", "timeout", "server", "serve", "Service", "_doing", "_write", "_write_service"}
    rank = {"lags_s", "_num_served"}  # decide who is next of those who wait, and a walker never waits
    assert reads - tells == known | rank | {"computing_s", "serving_s"}


@pytest.mark.parametrize(
    ("kind", "spans"),
    [("sfl-v1", "steps"), ("sfl-v1", "rounds"), ("sfl-v1", "none"), ("u-shape", "steps"), ("fed-lora", "steps")],
)
def test_a_whole_run_is_the_same_without_events(kind, spans, monkeypatch):
    scenario = Scenario.from_mapping(
        {
            "rounds": 3,
            "workload": {"dataset": "lengths", "local_steps": 2, "optimizer": {"state": "reset"}},
            "fleet": {"mixture": "phones-2024", "count": 200},
            "server": {"network": "lan-10gbe", "slots": 8},
            "protocol": {"kind": kind},
            "policy": {"kind": "splitft", "gamma_perf": 0.0},
            "selection": {"kind": "random", "count": 8},
            "availability": {"kind": "catalogue", "failure_frac": 0.2},
            "execution": {"trainer": "cost-only", "spans": spans},
        }
    )
    outcomes = []

    def watched(*args, **kwargs):
        outcomes.append(forwarded(*args, **kwargs))
        return outcomes[-1]

    forwarded = barrier.forwarded
    monkeypatch.setattr(barrier, "forwarded", watched)
    without = splitft.run(scenario)
    assert sum(outcome is not None for outcome in outcomes) == 3
    monkeypatch.setattr(barrier, "forwarded", lambda *_, **__: None)
    with_events = splitft.run(scenario)
    for one, other in ((without.clients, with_events.clients), (without.rounds, with_events.rounds)):
        assert one.equals(other)
    assert without.records.meta["spans_sha256"] == with_events.records.meta["spans_sha256"]
