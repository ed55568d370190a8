"""What a policy is told of a step, protocol by protocol."""

import pytest

import splitft
from simulator.clock.world import World
from simulator.costs.block_price import observed_price
from simulator.policies.observation import CutCosts
from simulator.policies.observe import STEPS, Ahead, observations
from simulator.protocols import local_loss, sfl_pipelined, sfl_v1, u_shape
from simulator.protocols.phases import SPLIT_STEP
from simulator.protocols.rounds import ClientPlan
from simulator.records.recorder import RunWriter
from simulator.setting import resolve
from tests.simulator.observed import never
from tests.simulator.policies.test_policies_in_runs import scenario

ROUNDS = {
    "sfl-v1": sfl_v1.run_round,
    "local-loss": local_loss.run_round,
    "u-shape": u_shape.run_round,
    "sfl-pipelined": lambda *round_: sfl_pipelined.run_round(*round_, num_parts=2),
}
WEAK = {"device": "rpi4-8gb", "network": "lan-10gbe"}


def seen_in(kind, cut=3, num_clients=4):
    """Play a round of two steps at a server that is the bottleneck; return (observations, log, spans)."""
    setting = resolve(scenario(protocol={"kind": kind}, server=WEAK))
    writer = RunWriter(None, {})
    world = World(
        fleet=setting.fleet, server_links=setting.server_links, slots=1, costs=setting.costs, spans=writer.spans
    )
    plans = [ClientPlan(client=k, cut=cut, steps=setting.data.padded_steps(k, 1)) for k in range(num_clients)]
    log = ROUNDS[kind](world, 1, plans)
    writer.spans.flush_round(1)
    ahead = {k: Ahead(draw=0.0, costs=CutCosts(never, never)) for k in range(num_clients)}
    return observations(setting, log, {}, ahead), log, writer.records().spans


@pytest.mark.parametrize("kind", ROUNDS)
def test_the_time_of_a_step_is_what_passes_while_it_lasts_queues_at_the_server_included(kind):
    seen, log, spans = seen_in(kind)
    for o, c in zip(seen, log.clients, strict=True):
        own = spans[spans.client == o.client].set_index("kind")
        begins_s = own.end_s["download_adapter"]
        adapter_s = own.end_s["upload_adapter"] - own.start_s["upload_adapter"]
        # Between fetching the adapter and being done, handing it in apart, the two steps are all there is.
        assert o.step_s * 2 == pytest.approx(c.end_s - begins_s - adapter_s, rel=1e-9)
    assert len({round(o.step_s, 9) for o in seen}) > 1


@pytest.mark.parametrize("kind", ROUNDS)
def test_waiting_is_no_part_of_a_clients_own_path(kind):
    crowded, alone = seen_in(kind)[0][0], seen_in(kind, num_clients=1)[0][0]
    if kind == "sfl-pipelined":  # a message may be slowed by others of the same client: the sums are nearly equal
        assert crowded.busy_s == pytest.approx(alone.busy_s, rel=0.01)
    else:
        assert crowded.busy_s == pytest.approx(alone.busy_s, rel=1e-9)
    assert crowded.step_s > 1.2 * alone.step_s


def test_a_block_of_a_server_that_works_beside_its_clients_costs_these_nothing():
    assert all(o.server_block_s == 0 < o.client_block_s for o in seen_in("local-loss")[0])
    assert all(o.server_block_s > 0 for kind in ("sfl-v1", "u-shape") for o in seen_in(kind)[0])


@pytest.mark.parametrize("kind", ROUNDS)
def test_moving_one_block_adds_to_the_path_what_the_prices_say(kind):
    # Blocks from 3 on are all alike, and cut ranks move along. Prices are those of a whole batch: a part of one has the
    # same overheads.
    tolerance = 0.05 if kind == "sfl-pipelined" else 5e-3
    here, deeper = (seen_in(kind, cut=cut, num_clients=1)[0][0] for cut in (4, 5))
    assert deeper.busy_s - here.busy_s == pytest.approx(here.client_block_s - here.server_block_s, rel=tolerance)


@pytest.mark.parametrize("kind", ["sfl-v1", "local-loss", "u-shape", "sfl-pipelined"])
def test_cuts_settle_in_runs_whose_times_do_not_change(kind):
    run = splitft.run(scenario(protocol={"kind": kind}, policy={"kind": "splitft"}, rounds=40))
    cuts = run.clients.pivot(index="round", columns="client", values="cut")
    assert (cuts.loc[31:] == cuts.loc[40]).all(axis=None)
    assert (cuts.loc[40] != cuts.loc[1]).any()


def test_every_kind_of_a_step_is_one_that_rounds_have():
    for kind, steps in {"sfl-v1": SPLIT_STEP, **STEPS}.items():
        found = set(seen_in(kind)[1].clients[0].seconds)
        assert set(steps.own) <= found
        assert len(set(steps.elapsed) - found) <= 1  # the first at the server does not wait


def test_a_price_is_of_what_is_on_the_path():
    _, log, _ = seen_in("sfl-v1", num_clients=1)
    setting = resolve(scenario(server=WEAK))
    price = observed_price(log.clients[0], setting.costs.step, 12, own_kinds=("client_forward",))
    assert price.on_server_s == 0
