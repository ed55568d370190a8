"""Federated LoRA without a split (FedIT: Zhang et al. 2023, arXiv 2305.05644), which split learning is compared with.

Clients work in parallel, each with the whole model: only adapters travel, once a round and way. The server averages.
"""

from collections.abc import Sequence

from simulator.clock.world import Participant, Steps, World
from simulator.protocols.barrier import synchronous_round
from simulator.protocols.phases import fetch, hand_in
from simulator.protocols.rounds import FOR_EVERYBODY, ClientPlan, RoundLog, Terms


def client_round(me: Participant, plan: ClientPlan) -> Steps:
    """Take one client through a round: fetch the adapter, train the whole model, hand the adapter in."""
    yield from fetch(me, plan)
    for me.step, batch in enumerate(plan.steps, start=1):
        step = me.world.costs.whole_step(plan.client, batch.num_samples, batch.length_tokens)
        yield from me.compute("client_forward", step.forward_s)
        yield from me.compute("client_backward", step.backward_s)
        yield from me.compute("client_optimizer", step.optimizer_s)
        me.num_steps += 1
    yield from hand_in(me, plan)


def run_round(world: World, number: int, plans: Sequence[ClientPlan], terms: Terms = FOR_EVERYBODY) -> RoundLog:
    """Run one round to its barrier on the clock and return its log; every client's cut is all blocks."""
    return synchronous_round(world, number, plans, client_round, terms, apart=True)
