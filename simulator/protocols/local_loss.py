"""Split learning with local losses (DTFL, arXiv 2312.05642; CSE-FSL, arXiv 2507.15816).

The client learns from an auxiliary head at the cut, here the model's own final norm and LM head, frozen, and waits for
nobody: no gradient comes down. The server learns from the activations as they come, in a copy of its part for every
client. The copies and the client parts are averaged at the end of the round. Labels leave the device: the server needs
them for its own loss.
"""

from collections.abc import Sequence

import simpy

from simulator.clock.alone import played_s
from simulator.clock.lane import Lane
from simulator.clock.world import Participant, Steps, World
from simulator.protocols.barrier import synchronous_round
from simulator.protocols.phases import StepKinds, fetch, hand_in, measure
from simulator.protocols.rounds import FOR_EVERYBODY, ClientPlan, RoundLog, Terms
from simulator.records.runs import OUTSIDE_STEPS

_OWN_KINDS = ("client_forward", "upload_activations", "upload_labels", "client_backward", "client_optimizer")
STEP = StepKinds(own=_OWN_KINDS, elapsed=(*_OWN_KINDS, "overlap_wait"))
"""What a step consists of for the client; the server's goes on beside it, and is waited for at the end of the round."""


def client_round(me: Participant, plan: ClientPlan) -> Steps:
    """Take one client through a round; it has finished when the server has, too."""
    yield from fetch(me, plan)
    arrivals, served = [me.world.env.event() for _ in plan.steps], me.world.env.event()
    server = Lane.of(me)
    server.begin(server_round(server, plan, arrivals, served))
    for me.step, (batch, arrival) in enumerate(zip(plan.steps, arrivals, strict=True), start=1):
        step = me.world.costs.local_step(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
        yield from me.compute("client_forward", step.client_forward_s)
        yield from me.upload(("upload_activations", step.activation_bytes), ("upload_labels", step.label_bytes))
        arrival.succeed(me.last_span)
        yield from me.compute("client_backward", step.client_backward_s)
        yield from me.compute("client_optimizer", step.client_optimizer_s)
        me.num_steps += 1
    me.step = OUTSIDE_STEPS
    if plan.validation:  # what is measured is the client's part with the server's, once that has been trained, too
        yield from me.wait_for("overlap_wait", served)
    yield from measure(me, plan)
    yield from hand_in(me, plan)
    yield from me.wait_for("overlap_wait", served)


def server_round(lane: Lane, plan: ClientPlan, arrivals: Sequence[simpy.Event], served: simpy.Event) -> Steps:
    """Step the server's copy for the client on each batch that has arrived, one after another."""
    for lane.step, (batch, arrival) in enumerate(zip(plan.steps, arrivals, strict=True), start=1):
        yield from lane.after(arrival)
        step = lane.world.costs.local_step(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
        yield from lane.serve("server_step", step.server_step_s)
    served.succeed(lane.last_span)


def run_round(world: World, number: int, plans: Sequence[ClientPlan], terms: Terms = FOR_EVERYBODY) -> RoundLog:
    """Run one round to its barrier on the clock and return its log."""
    return synchronous_round(world, number, plans, client_round, terms, path_s=played_s)
