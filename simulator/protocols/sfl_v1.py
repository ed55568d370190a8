"""SplitFed V1 (Thapa et al., arXiv 2004.12088), the protocol of SplitFT (arXiv 2604.26388).

Clients work in parallel. The main server holds a copy of its part for every client, steps that copy for each batch, and
averages the copies at the end of the round; the fed server averages what the clients upload.
"""

from collections.abc import Sequence

from simulator.clock.world import Participant, Steps, World
from simulator.protocols.barrier import synchronous_round
from simulator.protocols.phases import fetch, hand_in, measure, split_step
from simulator.protocols.rounds import FOR_EVERYBODY, ClientPlan, RoundLog, Terms


def client_round(me: Participant, plan: ClientPlan) -> Steps:
    """Take one client through a round: fetch the adapter, train step by step with the server, hand the adapter in."""
    yield from fetch(me, plan)
    for me.step, batch in enumerate(plan.steps, start=1):
        yield from split_step(me, plan, batch)
    yield from measure(me, plan)
    yield from hand_in(me, plan)


def run_round(world: World, number: int, plans: Sequence[ClientPlan], terms: Terms = FOR_EVERYBODY) -> RoundLog:
    """Run one round to its barrier on the clock and return its log.

    Of whoever has not handed in, the adapter and the server's copy for it are discarded.
    """
    return synchronous_round(world, number, plans, client_round, terms, apart=True)
