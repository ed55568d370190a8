"""SplitFed V1 (Thapa et al., arXiv 2004.12088), the protocol of SplitFT (arXiv 2604.26388).

Clients work in parallel. The main server holds a copy of its part for every client, steps that copy for each batch, and
averages the copies at the end of the round; the fed server averages what the clients upload.
"""

from collections.abc import Sequence

from simulator.protocols.rounds import ClientLog, ClientPlan, RoundLog
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
    adapter = costs.round(plan.client, plan.cut)
    yield from me.download(("download_adapter", adapter.adapter_download_bytes))
    for me.step, batch in enumerate(plan.steps, start=1):
        step = costs.step(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
        yield from me.compute("client_forward", step.client_forward_s)
        yield from me.upload(("upload_activations", step.activation_bytes), ("upload_labels", step.label_bytes))
        yield from me.serve("server_step", step.server_step_s)
        yield from me.download(("download_gradients", step.gradient_bytes))
        yield from me.compute("client_backward", step.client_backward_s)
        yield from me.compute("client_optimizer", step.client_optimizer_s)
    me.step = OUTSIDE_STEPS
    for batch in plan.validation:
        check = costs.validation(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
        yield from me.compute("validation_forward", check.client_forward_s)
        yield from me.upload(("upload_validation", check.activation_bytes + check.label_bytes))
        yield from me.serve("server_validation", check.server_forward_s)
    yield from me.upload(("upload_adapter", adapter.adapter_upload_bytes))
    me.handed_in_s = me.world.env.now


def run_round(world: World, number: int, plans: Sequence[ClientPlan]) -> RoundLog:
    """Run one round to its barrier on the clock and return its log.

    Clients start together, in the order of `plans`; the server aggregates when the last one has handed in its adapter,
    and everybody waits for that.
    """
    start_s = world.env.now
    participants = [Participant(world=world, client=plan.client, round=number) for plan in plans]
    world.env.run(world.env.process(_round(participants, plans)))
    clients = tuple(
        ClientLog(plan=plan, start_s=start_s, end_s=me.handed_in_s, seconds=me.seconds, num_bytes=me.num_bytes)
        for me, plan in zip(participants, plans, strict=True)
    )
    return RoundLog(round=number, start_s=start_s, end_s=world.env.now, clients=clients)


def _round(participants: Sequence[Participant], plans: Sequence[ClientPlan]) -> Steps:
    world = participants[0].world
    yield world.env.all_of(
        [world.env.process(client_round(me, plan)) for me, plan in zip(participants, plans, strict=True)]
    )
    last = max(participants, key=lambda me: me.handed_in_s)
    handed_in = [(plan.client, plan.cut) for plan in plans]
    yield from world.aggregate(last.round, world.costs.aggregate_s(handed_in), last.last_span)
    for me in participants:
        me.wait_until_now("round_wait")
