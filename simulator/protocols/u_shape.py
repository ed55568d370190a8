"""U-shaped split learning (Vepakomma et al. 2018, arXiv 1812.00564), with the parallel clients of SplitFed V1.

Final norm and LM head stay on the client, so that it computes the loss itself and labels never leave it. A step passes
the link four times and turns to the server twice: forward through the blocks in the middle, and backward. Of the middle
the server has a copy of the adapters for every client, averaged with the client parts at the end of the round.
"""

from collections.abc import Sequence

from simulator.clock.world import Participant, Steps, World
from simulator.protocols.barrier import synchronous_round
from simulator.protocols.phases import StepKinds, fetch, hand_in
from simulator.protocols.rounds import FOR_EVERYBODY, ClientPlan, PaddedBatch, RoundLog, Terms
from simulator.records.runs import OUTSIDE_STEPS

_OWN_KINDS = (
    "client_forward",
    "upload_activations",
    "server_forward",
    "download_activations",
    "client_head",
    "upload_gradients",
    "server_backward",
    "download_gradients",
    "client_backward",
    "client_optimizer",
)
STEP = StepKinds(own=_OWN_KINDS, elapsed=(*_OWN_KINDS, "server_wait"))
"""What a step consists of."""


def client_round(me: Participant, plan: ClientPlan) -> Steps:
    """Take one client through a round: fetch the adapter, train step by step with the server, hand the adapter in."""
    yield from fetch(me, plan)
    for me.step, batch in enumerate(plan.steps, start=1):
        yield from u_shape_step(me, plan, batch)
    yield from measure(me, plan)
    yield from hand_in(me, plan)


def u_shape_step(me: Participant, plan: ClientPlan, batch: PaddedBatch) -> Steps:
    """Train on one batch: up to the cut, through the server's blocks to the client's head, and the same way back."""
    step = me.world.costs.u_shape_step(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
    yield from me.compute("client_forward", step.client_forward_s)
    yield from me.upload(("upload_activations", step.activation_bytes))
    yield from me.serve("server_forward", step.server_forward_s)
    yield from me.download(("download_activations", step.activation_bytes))
    yield from me.compute("client_head", step.head_forward_s + step.head_backward_s)
    yield from me.upload(("upload_gradients", step.gradient_bytes))
    yield from me.serve("server_backward", step.server_backward_s)
    yield from me.download(("download_gradients", step.gradient_bytes))
    yield from me.compute("client_backward", step.client_backward_s)
    yield from me.compute("client_optimizer", step.client_optimizer_s)
    me.num_steps += 1


def measure(me: Participant, plan: ClientPlan) -> Steps:
    """Measure the client's adapter on its own validation batches, where its policy wants that: the way there alone."""
    me.step = OUTSIDE_STEPS
    for batch in plan.validation:
        check = me.world.costs.u_shape_step(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
        yield from me.compute("validation_forward", check.client_forward_s)
        yield from me.upload(("upload_validation", check.activation_bytes))
        yield from me.serve("server_validation", check.server_forward_s)
        yield from me.download(("download_validation", check.activation_bytes))
        yield from me.compute("validation_head", check.head_forward_s)


def run_round(world: World, number: int, plans: Sequence[ClientPlan], terms: Terms = FOR_EVERYBODY) -> RoundLog:
    """Run one round to its barrier on the clock and return its log.

    Of whoever has not handed in, the adapter and the server's copy for it are discarded.
    """
    return synchronous_round(world, number, plans, client_round, terms, apart=True)
