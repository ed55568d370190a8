"""Split learning (Gupta and Raskar 2018, arXiv 1810.06060; Vepakomma et al. 2018, arXiv 1812.00564).

Clients work one after another. There is one adapter: its client part is handed on from one client to the next by way of
the server, and the server steps its own part for each batch. Nothing is averaged. What the server has stepped for a
client that then drops out stays, and the next client starts from the client part as it was before, and from what the
server's last step for the other has made of blocks that it takes over: it waits for that step to end.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial

import simpy

from simulator.clock.alone import path_s
from simulator.clock.world import Participant, Service, Steps, World
from simulator.protocols.barrier import Moment, gather, release, round_log
from simulator.protocols.phases import fetch, hand_in, measure, split_step
from simulator.protocols.rounds import FOR_EVERYBODY, ClientPlan, RoundLog, Terms
from simulator.records.runs import NO_CAUSE


class Relay:
    """One round: whose turn it is, and in which order the server takes its steps.

    Attributes:
        order: each (client, step) of the server so far.

    Args:
        world: where.
        plans: of the clients; their turns come in this order.
    """

    def __init__(self, world: World, plans: Sequence[ClientPlan]) -> None:
        self.order: list[tuple[int, int]] = []
        self._plans = {plan.client: plan for plan in plans}
        self._turns = simpy.Resource(world.env)
        self._last_span = NO_CAUSE

    def client_round(self, me: Participant, plan: ClientPlan) -> Steps:
        """Take one client through its turn, once those before it have handed in or gone."""
        with self._turns.request() as turn:
            yield from me.wait_for("round_wait", turn)
            if self._last_span != NO_CAUSE:
                me.last_span = self._last_span
            yield from self._server_free(me)
            me.began_s = me.world.env.now
            self._fail_in_turn(me)
            yield from self.turn(me, plan)
            self._last_span = me.last_span

    def _server_free(self, me: Participant) -> Steps:
        """Wait while the server ends a step for a client that has gone."""
        if me.world.server.is_idle:
            return
        free = me.world.server.request()
        try:
            yield from me.wait_for("round_wait", free)
        finally:
            free.release()
        if isinstance(free.cause, Service):
            me.last_span = free.cause.span_id

    def turn(self, me: Participant, plan: ClientPlan) -> Steps:
        """Fetch the client part of the adapter, train step by step with the server, hand it in for the next one."""
        yield from fetch(me, plan)
        for me.step, batch in enumerate(plan.steps, start=1):
            yield from split_step(me, plan, batch, on_served=partial(self.order.append, (me.client, me.step)))
        yield from measure(me, plan)
        yield from hand_in(me, plan)

    def _fail_in_turn(self, me: Participant) -> None:
        """Let a client that is to fail do so after its part of the time that its turn would take."""
        plan = self._plans[me.client]
        if plan.fails_frac is not None:
            fails_s = me.world.env.now + plan.fails_frac * path_s(me.world, me.round, plan, self.turn)
            Moment(me.world.env, fails_s, partial(me.stop, "dropped"))


def run_round(world: World, number: int, plans: Sequence[ClientPlan], terms: Terms = FOR_EVERYBODY) -> RoundLog:
    """Run one round on the clock and return its log, with the order of the server's steps.

    Turns come in the order of `plans`. The round is over when nobody's turn is to come; there is nothing to aggregate.
    """
    start_s, relay = world.env.now, Relay(world, plans)
    participants = world.run(_round(world, number, plans, terms, relay))
    return round_log(number, start_s, world.env.now, participants, plans, order=tuple(relay.order))


def _round(
    world: World, number: int, plans: Sequence[ClientPlan], terms: Terms, relay: Relay
) -> Generator[simpy.Event, object, list[Participant]]:
    # Who fails does so in its turn, whenever that is; who goes, goes at a time of its own.
    staying = [replace(plan, fails_frac=None) for plan in plans]
    participants = yield from gather(world, number, staying, relay.client_round, terms, is_ranked=False)
    release(participants)
    return participants
