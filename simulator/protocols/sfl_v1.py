"""SplitFed V1 (Thapa et al., arXiv 2004.12088), the protocol of SplitFT (arXiv 2604.26388).

Clients work in parallel. The main server holds a copy of its part for every client, steps that copy for each batch, and
averages the copies at the end of the round; the fed server averages what the clients upload.
"""

from collections.abc import Generator, Sequence

import simpy

from simulator.protocols.barrier import gather, round_log
from simulator.protocols.moving import move_cut
from simulator.protocols.rounds import FOR_EVERYBODY, ClientPlan, RoundLog, Terms
from simulator.records import OUTSIDE_STEPS
from simulator.world import Participant, Steps, World

STEP_KINDS = (
    "client_forward",
    "upload_activations",
    "upload_labels",
    "server_step",
    "download_gradients",
    "client_backward",
    "client_optimizer",
)
"""What a step consists of for one client; waiting for others is not a part of it."""


def client_round(me: Participant, plan: ClientPlan) -> Steps:
    """Take one client through a round: fetch the adapter, train step by step with the server, hand the adapter in."""
    costs = me.world.costs
    yield from move_cut(me, plan)
    adapter = costs.round(plan.client, plan.cut, plan.stacked)
    yield from me.download(("download_adapter", adapter.adapter_download_bytes))
    if adapter.client_merge_s > 0:
        yield from me.compute("client_merge", adapter.client_merge_s)
    for me.step, batch in enumerate(plan.steps, start=1):
        step = costs.step(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
        yield from me.compute("client_forward", step.client_forward_s)
        yield from me.upload(("upload_activations", step.activation_bytes), ("upload_labels", step.label_bytes))
        yield from me.serve("server_step", step.server_step_s)
        yield from me.download(("download_gradients", step.gradient_bytes))
        yield from me.compute("client_backward", step.client_backward_s)
        yield from me.compute("client_optimizer", step.client_optimizer_s)
        me.num_steps += 1
    me.step = OUTSIDE_STEPS
    for batch in plan.validation:
        check = costs.validation(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
        yield from me.compute("validation_forward", check.client_forward_s)
        yield from me.upload(("upload_validation", check.activation_bytes + check.label_bytes))
        yield from me.serve("server_validation", check.server_forward_s)
    yield from me.upload(("upload_adapter", adapter.adapter_upload_bytes))


def run_round(world: World, number: int, plans: Sequence[ClientPlan], terms: Terms = FOR_EVERYBODY) -> RoundLog:
    """Run one round to its barrier on the clock and return its log.

    Clients start together, in the order of `plans`; when nobody is at work any more the server aggregates what has been
    handed in, and everybody waits for that. Whoever has not handed in takes no part in it: its adapter and the server's
    copy for it are discarded.
    """
    start_s = world.env.now
    participants = world.run(_round(world, number, plans, terms))
    return round_log(number, start_s, world.env.now, participants, plans)


def _round(
    world: World, number: int, plans: Sequence[ClientPlan], terms: Terms
) -> Generator[simpy.Event, object, list[Participant]]:
    participants = yield from gather(world, number, plans, client_round, terms, apart=True)
    handed_in = [(me.client, plan.cut) for me, plan in zip(participants, plans, strict=True) if me.status == "finished"]
    if handed_in:
        last = max(participants, key=lambda me: (me.ended_s, me.status == "finished"))
        yield from world.aggregate(number, world.costs.aggregate_s(handed_in), last.last_span)
    for me in participants:
        me.wait_until_now()
    return participants
