"""Policies in whole runs of the clock: on fleets of different kinds, against each other, and what they foresee."""

import numpy as np
import pytest

import splitft
from simulator.clock.world import World
from simulator.policies.deciding import POLICIES
from simulator.policies.foresight import Foresight
from simulator.policies.observe import Ahead, unseen
from simulator.protocols.rounds import ClientPlan
from simulator.protocols.sfl_v1 import run_round
from simulator.records.recorder import RunWriter
from simulator.scenario import Scenario
from simulator.setting import resolve

LISTED = {
    "clients": [
        {"device": "rpi5-8gb", "network": "us-fixed-user-2025"},
        {"device": "jetson-orin-nano-8gb", "network": "wifi5-2x2-cap", "count": 2},
        {"device": "rtx-3060-12gb", "network": "us-fixed-user-2025"},
    ]
}
FLEETS = {
    "listed": LISTED,
    "equal": {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe", "count": 3}]},
    "phones": {"mixture": "phones-2024", "count": 12},
}


def scenario(**changes):
    workload = {
        "model": "gpt2",
        "dataset": {"source": "lengths", "distribution": "fixed", "tokens": 32},
        "batch_size": 2,
        "local_steps": 2,
    }
    sections = {
        "rounds": 4,
        "workload": workload,
        "fleet": LISTED,
        "availability": {"kind": "always-on"},
        "execution": {"trainer": "cost-only"},
    }
    return Scenario.from_mapping({**sections, **changes})


@pytest.mark.parametrize("fleet", FLEETS)
@pytest.mark.parametrize("kind", POLICIES)
def test_every_policy_runs_on_every_fleet_and_keeps_to_memory(kind, fleet):
    run = splitft.run(scenario(policy={"kind": kind}, fleet=FLEETS[fleet]))
    assert len(run.rounds) == 4
    assert run.clients.cut.between(1, run.clients.max_cut).all()
    assert run.clients.cut_reason.str.len().min() > 0


@pytest.mark.parametrize("kind", sorted(set(POLICIES) - {"fixed", "per-device"}))
def test_bounds_and_the_interval_between_decisions_are_kept(kind):
    bounds = {"min_cut": 2, "max_cut": 4, "every": 2}
    run = splitft.run(scenario(policy={"kind": kind, **bounds}, rounds=5))
    cuts = run.clients.pivot(index="round", columns="client", values="cut")
    assert run.clients.cut.between(2, 4).all()
    assert (cuts.loc[1] == cuts.loc[2]).all()
    assert (cuts.loc[3] == cuts.loc[4]).all()


@pytest.mark.parametrize("fleet", ["listed", "equal"])
def test_with_a_slot_for_everybody_and_a_fast_link_no_policy_beats_the_optimal_round(fleet):
    # Nobody waits then, so that a round is the longest path, which `optimal` makes as short as it can be.
    num_clients = sum(group.get("count", 1) for group in FLEETS[fleet]["clients"])
    server = {"network": "lan-10gbe", "slots": num_clients}
    ends_s = {}
    for kind in POLICIES:
        run = splitft.run(scenario(policy={"kind": kind}, fleet=FLEETS[fleet], server=server))
        ends_s[kind] = (run.rounds.end_s - run.rounds.start_s).to_numpy()
    for kind, durations_s in ends_s.items():
        assert (ends_s["optimal"] <= durations_s * (1 + 1e-9)).all(), kind
    assert (ends_s["memory-greedy"] > 1.1 * ends_s["optimal"]).all()  # and there is something to beat


def made(**changes):
    setting = resolve(scenario(**changes))
    world = World(
        fleet=setting.fleet,
        server_links=setting.server_links,
        slots=len(setting.fleet),
        costs=setting.costs,
        spans=RunWriter(None, {}).spans,
    )
    return setting, world, Foresight(setting, world)


@pytest.mark.parametrize("client", range(4))
def test_a_foreseen_path_is_the_time_that_the_round_then_takes_alone(client):
    # drawn lengths: two batches of different size, so that both count
    lengths = {"source": "lengths", "distribution": "uniform", "min_tokens": 8, "max_tokens": 64}
    setting, world, foresight = made(workload={"model": "gpt2", "dataset": lengths, "batch_size": 2, "local_steps": 2})
    steps = setting.data.padded_steps(client, 1)
    foreseen = foresight.costs(client, 1).seconds
    for cut in (1, 5, 11):
        log = run_round(world, cut, [ClientPlan(client=client, cut=cut, steps=steps)])
        (own,) = log.clients
        assert own.end_s - own.start_s == pytest.approx(foreseen.path_s[cut - 1], rel=1e-9)
        assert own.seconds["server_step"] == pytest.approx(foreseen.server_s[cut - 1], rel=1e-9)
        on_client_s = sum(s for kind, s in own.seconds.items() if kind.startswith("client_"))
        assert on_client_s == pytest.approx(foreseen.client_s[cut - 1], rel=1e-9)
    total_s = foreseen.client_s + foreseen.transfer_s + foreseen.server_s
    assert np.allclose(foreseen.path_s, total_s, rtol=1e-12)


def test_a_client_that_computes_as_predicted_is_not_slowed_down_and_a_throttled_one_is():
    setting, world, foresight = made()
    steps = setting.data.padded_steps(0, 1)
    (log,) = run_round(world, 1, [ClientPlan(client=0, cut=3, steps=steps)]).clients
    assert foresight.costs(0, 2, log).slowdown == pytest.approx(1.0, rel=1e-9)
    for kind in ("client_forward", "client_backward", "client_optimizer"):
        log.seconds[kind] *= 2.5
    assert foresight.costs(0, 2, log).slowdown == pytest.approx(2.5, rel=1e-9)


def test_nothing_is_predicted_for_a_policy_that_does_not_look_ahead():
    setting, _, foresight = made()
    seen = unseen(setting, 0, None, Ahead(draw=0.0, costs=foresight.costs(0, 1)))
    assert foresight._work.cache_info().currsize == 0
    assert len(seen.seconds().path_s) == seen.max_cut
    assert foresight._work.cache_info().currsize > 0


def test_a_random_policy_draws_anew_in_every_round_and_a_client_does_not_depend_on_others():
    few, many = (
        splitft.run(scenario(policy={"kind": "random"}, fleet={"clients": [{**group, "count": count}]}, rounds=6))
        for group in [LISTED["clients"][0]]
        for count in (2, 4)
    )
    cuts = [run.clients[run.clients.client == 1].cut.tolist() for run in (few, many)]
    assert cuts[0] == cuts[1]
    assert len(set(cuts[0])) > 1


def test_joint_policies_decide_for_the_participants_of_the_round_together():
    # With one participant of the two kinds a round, the only one is the straggler and takes its shortest path; together
    # with a slower one the fast client would be deep.
    fleet = {"clients": [{"device": device, "network": "lan-1gbe"} for device in ("rpi5-8gb", "rtx-3060-12gb")]}
    together = splitft.run(scenario(policy={"kind": "dtfl"}, fleet=fleet, rounds=1))
    alone = splitft.run(
        scenario(policy={"kind": "dtfl"}, fleet=fleet, rounds=6, selection={"kind": "random", "count": 1})
    )
    assert set(alone.clients.client) == {0, 1}
    deepest = together.clients.set_index("client").cut
    assert deepest[1] > alone.clients[alone.clients.client == 1].cut.max()
