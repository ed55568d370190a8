"""What a client does in a round of each split protocol, one thing after another: overlap could only make it less.

Nobody runs these on the clock; `simulator.policies.foresight` adds up what they ask for.
"""

from functools import partial

from simulator.clock.alone import ClientRound
from simulator.clock.world import Participant, Steps
from simulator.protocols import sfl_v1, u_shape
from simulator.protocols.phases import fetch, hand_in
from simulator.protocols.rounds import ClientPlan
from simulator.protocols.sfl_pipelined import micro_batches
from simulator.sections.protocol import LocalLossProtocol, PipelinedProtocol, Protocol, UShapeProtocol


def local_round(me: Participant, plan: ClientPlan) -> Steps:
    """Take a client through a round of local-loss, the server's steps among its own."""
    yield from fetch(me, plan)
    for batch in plan.steps:
        step = me.world.costs.local_step(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
        yield from me.compute("client_forward", step.client_forward_s)
        yield from me.upload(("upload_activations", step.activation_bytes), ("upload_labels", step.label_bytes))
        yield from me.serve("server_step", step.server_step_s)
        yield from me.compute("client_backward", step.client_backward_s)
        yield from me.compute("client_optimizer", step.client_optimizer_s)
    yield from hand_in(me, plan)


def parted_round(me: Participant, plan: ClientPlan, *, num_parts: int) -> Steps:
    """Take a client through a round of sfl-pipelined, one part of a batch after another."""
    yield from fetch(me, plan)
    for batch in plan.steps:
        sizes = micro_batches(batch.num_samples, num_parts)
        parts = [me.world.costs.step(plan.client, plan.cut, size, batch.length_tokens) for size in sizes]
        for part in parts:
            yield from me.compute("client_forward", part.client_forward_s)
            yield from me.upload(("upload_activations", part.activation_bytes), ("upload_labels", part.label_bytes))
            yield from me.serve("server_step", part.server_step_s - part.server_optimizer_s)
            yield from me.download(("download_gradients", part.gradient_bytes))
            yield from me.compute("client_backward", part.client_backward_s)
        yield from me.serve("server_step", parts[-1].server_optimizer_s)
        yield from me.compute("client_optimizer", parts[-1].client_optimizer_s)
    yield from hand_in(me, plan)


def one_after_another(protocol: Protocol) -> ClientRound:
    """Return what a client does in a round, without overlap; that only makes it less."""
    match protocol:
        case PipelinedProtocol(micro_batches=num_parts):
            return partial(parted_round, num_parts=num_parts)
        case LocalLossProtocol():
            return local_round
        case UShapeProtocol():
            return u_shape.client_round
        case _:
            return sfl_v1.client_round
