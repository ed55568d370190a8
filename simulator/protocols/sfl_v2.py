"""SplitFed V2 (Thapa et al., arXiv 2004.12088; with LoRA: SplitLoRA, arXiv 2407.00952).

Clients work in parallel, but the server has one adapter for all of them, which it steps for each batch as batches come:
the clock decides the order, and with it what is learned. The clients' parts are averaged at the end of the round, as
in V1. What the server has stepped for a client that then drops out stays: it cannot be undone.
"""

from collections.abc import Generator, Sequence
from functools import partial

import simpy

from simulator.clock.world import Participant, Steps, World
from simulator.protocols.barrier import gather, round_log, settle
from simulator.protocols.phases import fetch, hand_in, measure, split_step
from simulator.protocols.rounds import FOR_EVERYBODY, ClientPlan, RoundLog, Terms

Order = tuple[tuple[int, int], ...]


def client_round(me: Participant, plan: ClientPlan, order: list[tuple[int, int]]) -> Steps:
    """Take one client through a round, as in V1; `order` notes each (client, step) when the server has stepped for it.

    The server takes one step at a time, so they end in the order in which it took them.
    """
    yield from fetch(me, plan)
    for me.step, batch in enumerate(plan.steps, start=1):
        yield from split_step(me, plan, batch, on_served=partial(order.append, (me.client, me.step)))
    yield from measure(me, plan)
    yield from hand_in(me, plan)


def run_round(world: World, number: int, plans: Sequence[ClientPlan], terms: Terms = FOR_EVERYBODY) -> RoundLog:
    """Run one round to its barrier on the clock and return its log, with the order of the server's steps.

    A step that the server ends for nobody, after the barrier has opened, comes too late to count.
    """
    start_s = world.env.now
    participants, order = world.run(_round(world, number, plans, terms))
    return round_log(number, start_s, world.env.now, participants, plans, order=order)


def _round(
    world: World, number: int, plans: Sequence[ClientPlan], terms: Terms
) -> Generator[simpy.Event, object, tuple[list[Participant], Order]]:
    order: list[tuple[int, int]] = []
    participants = yield from gather(world, number, plans, partial(client_round, order=order), terms)
    in_time = tuple(order)
    yield from settle(world, number, plans, participants)
    return participants, in_time
