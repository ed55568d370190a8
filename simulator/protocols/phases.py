"""The phases of a client's round that protocols share: fetch, train a step with the server, measure, hand in."""

from collections.abc import Callable
from typing import NamedTuple

from simulator.clock.world import Participant, Steps
from simulator.protocols.moving import move_cut
from simulator.protocols.rounds import ClientPlan, PaddedBatch
from simulator.records.runs import OUTSIDE_STEPS


class StepKinds(NamedTuple):
    """Of which kinds of spans a protocol's step consists for one client.

    Attributes:
        own: its path through the step, as if nobody else were there; waiting is not a part of it.
        elapsed: all that passes from the step's begin to its end, waiting included, one after another.
    """

    own: tuple[str, ...]
    elapsed: tuple[str, ...]


_SPLIT_KINDS = (
    "client_forward",
    "upload_activations",
    "upload_labels",
    "server_step",
    "download_gradients",
    "client_backward",
    "client_optimizer",
)
SPLIT_STEP = StepKinds(own=_SPLIT_KINDS, elapsed=(*_SPLIT_KINDS, "server_wait"))
"""What `split_step` consists of."""


def fetch(me: Participant, plan: ClientPlan) -> Steps:
    """Download the client's part of the adapter, and take over what aggregations have left to the base model.

    Before that goes what has to be sent because the cut has moved.
    """
    yield from move_cut(me, plan)
    adapter = me.world.costs.round(plan.client, plan.cut, plan.stacked)
    yield from me.download(("download_adapter", adapter.adapter_download_bytes))
    if adapter.client_merge_s > 0:
        yield from me.compute("client_merge", adapter.client_merge_s)


def split_step(
    me: Participant, plan: ClientPlan, batch: PaddedBatch, *, on_served: Callable[[], None] | None = None
) -> Steps:
    """Train on one batch: the client up to the cut, the server from there and back to it, the client the rest.

    Args:
        me: who.
        plan: of the client.
        batch: the batch.
        on_served: called when the server has done its step, even if the client is gone by then.
    """
    step = me.world.costs.step(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
    yield from me.compute("client_forward", step.client_forward_s)
    yield from me.upload(("upload_activations", step.activation_bytes), ("upload_labels", step.label_bytes))
    yield from me.serve("server_step", step.server_step_s, on_served=on_served)
    yield from me.download(("download_gradients", step.gradient_bytes))
    yield from me.compute("client_backward", step.client_backward_s)
    yield from me.compute("client_optimizer", step.client_optimizer_s)
    me.num_steps += 1


def measure(me: Participant, plan: ClientPlan) -> Steps:
    """Measure the client's adapter on its own validation batches, where its policy wants that: forward passes alone."""
    me.step = OUTSIDE_STEPS
    for batch in plan.validation:
        check = me.world.costs.validation(plan.client, plan.cut, batch.num_samples, batch.length_tokens)
        yield from me.compute("validation_forward", check.client_forward_s)
        yield from me.upload(("upload_validation", check.activation_bytes + check.label_bytes))
        yield from me.serve("server_validation", check.server_forward_s)


def hand_in(me: Participant, plan: ClientPlan) -> Steps:
    """Upload what the client has trained of its part of the adapter."""
    me.step = OUTSIDE_STEPS
    adapter = me.world.costs.round(plan.client, plan.cut, plan.stacked)
    yield from me.upload(("upload_adapter", adapter.adapter_upload_bytes))
