"""How long one step of a protocol takes a client on given links, with nobody else there.

Written down from the definition of each protocol, without the clock; tests compare the two.
"""

from dataclasses import dataclass

from simulator.costs.block_price import StepOf
from simulator.costs.cost import Costs
from simulator.costs.seconds import transfer_s
from simulator.costs.u_shape_steps import UShapeStepCosts
from simulator.protocols.sfl_pipelined import micro_batches
from simulator.sections.protocol import UNSPLIT, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A client's way to the server and back: the narrowest link either way, and the latency of all."""

    uplink_bytes_per_s: float
    downlink_bytes_per_s: float
    latency_s: float

    def up_s(self, num_bytes: int) -> float:
        """Return how long a message takes to the server."""
        return transfer_s(num_bytes, bytes_per_s=self.uplink_bytes_per_s, latency_s=self.latency_s)

    def down_s(self, num_bytes: int) -> float:
        """Return how long a message takes from the server."""
        return transfer_s(num_bytes, bytes_per_s=self.downlink_bytes_per_s, latency_s=self.latency_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step whose costs are asked for: of which client, at which cut, on a batch of which size."""

    client: int
    cut: int
    batch_size: int
    length_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StepPrediction:
    """What one step comes to.

    Attributes:
        step_s: seconds.
        up_bytes, down_bytes: what is sent.
    """

    step_s: float
    up_bytes: int
    down_bytes: int


def split_step(costs: Costs, step: Step, route: Route) -> StepPrediction:
    """Return a step in which client and server wait for each other, as in sl, sfl-v1 and sfl-v2."""
    of_step = costs.step(step.client, step.cut, step.batch_size, step.length_tokens)
    up_bytes = of_step.activation_bytes + of_step.label_bytes
    return StepPrediction(
        step_s=of_step.client_forward_s
        + route.up_s(up_bytes)
        + of_step.server_step_s
        + route.down_s(of_step.gradient_bytes)
        + of_step.client_backward_s
        + of_step.client_optimizer_s,
        up_bytes=up_bytes,
        down_bytes=of_step.gradient_bytes,
    )


def pipelined_step(costs: Costs, step: Step, route: Route, *, num_parts: int) -> StepPrediction:
    """Return a step whose batch goes through it in parts: sfl-pipelined.

    Each part passes client, uplink, server and downlink in turn, each of which takes one at a time; the client's
    backward passes come after all its forward passes.
    """
    sizes = micro_batches(step.batch_size, num_parts)
    parts = [costs.step(step.client, step.cut, size, step.length_tokens) for size in sizes]
    client_s = up_s = server_s = down_s = 0.0
    down_ends_s = []
    for part in parts:
        client_s += part.client_forward_s
        up_s = max(up_s, client_s) + route.up_s(part.activation_bytes + part.label_bytes)
        optimizer_s = 0.0 if part is parts[-1] else part.server_optimizer_s
        server_s = max(server_s, up_s) + part.server_step_s - optimizer_s
        down_s = max(down_s, server_s) + route.down_s(part.gradient_bytes)
        down_ends_s.append(down_s)
    for part, down_s in zip(parts, down_ends_s, strict=True):
        client_s = max(client_s, down_s) + part.client_backward_s
    return StepPrediction(
        step_s=client_s + parts[-1].client_optimizer_s,
        up_bytes=sum(part.activation_bytes + part.label_bytes for part in parts),
        down_bytes=sum(part.gradient_bytes for part in parts),
    )


def whole_step(costs: Costs, step: Step) -> StepPrediction:
    """Return a step of the whole model on the client: fed-lora."""
    of_step = costs.whole_step(step.client, step.batch_size, step.length_tokens)
    return StepPrediction(step_s=of_step.forward_s + of_step.backward_s + of_step.optimizer_s, up_bytes=0, down_bytes=0)


def local_step(costs: Costs, step: Step, route: Route) -> StepPrediction:
    """Return a step in which the client waits for nobody, once it is as fast as the slower of the two: local-loss."""
    of_step = costs.local_step(step.client, step.cut, step.batch_size, step.length_tokens)
    up_bytes = of_step.activation_bytes + of_step.label_bytes
    client_s = of_step.client_forward_s + route.up_s(up_bytes) + of_step.client_backward_s + of_step.client_optimizer_s
    return StepPrediction(step_s=max(client_s, of_step.server_step_s), up_bytes=up_bytes, down_bytes=0)


def u_shape_step(costs: Costs, step: Step, route: Route) -> StepPrediction:
    """Return a step that passes the link four times, because norm and head are the client's: u-shape."""
    of_step = costs.u_shape_step(step.client, step.cut, step.batch_size, step.length_tokens)
    num_bytes = of_step.activation_bytes + of_step.gradient_bytes
    there_s = of_step.client_forward_s + route.up_s(of_step.activation_bytes) + of_step.server_forward_s
    head_s = route.down_s(of_step.activation_bytes) + of_step.head_forward_s + of_step.head_backward_s
    back_s = route.up_s(of_step.gradient_bytes) + of_step.server_backward_s + route.down_s(of_step.gradient_bytes)
    own_s = of_step.client_backward_s + of_step.client_optimizer_s
    return StepPrediction(step_s=there_s + head_s + back_s + own_s, up_bytes=num_bytes, down_bytes=num_bytes)


def predicted_step(protocol: Protocol, costs: Costs, step: Step, route: Route) -> StepPrediction:
    """Return what one step of a protocol comes to."""
    match protocol.kind:
        case "sfl-pipelined":
            return pipelined_step(costs, step, route, num_parts=protocol.micro_batches)
        case "local-loss":
            return local_step(costs, step, route)
        case "u-shape":
            return u_shape_step(costs, step, route)
        case "fed-lora":
            return whole_step(costs, step)
        case _:
            return split_step(costs, step, route)


@dataclass(frozen=True, kw_only=True, slots=True)
class Computing:
    """The computing time of a step: on the client, and at the server for it."""

    client_s: float
    server_s: float


def step_of(protocol: Protocol, costs: Costs) -> StepOf:
    """Return who knows what a step of a split protocol costs."""
    match protocol.kind:
        case "local-loss":
            return costs.local_step
        case "u-shape":
            return costs.u_shape_step
        case _:
            return costs.step


def computing(protocol: Protocol, costs: Costs, step: Step) -> Computing:
    """Return how long a step of a protocol is computed on, on either side; micro-batches count as one batch."""
    if protocol.kind in UNSPLIT:
        whole = costs.whole_step(step.client, step.batch_size, step.length_tokens)
        return Computing(client_s=whole.forward_s + whole.backward_s + whole.optimizer_s, server_s=0.0)
    of_step = step_of(protocol, costs)(step.client, step.cut, step.batch_size, step.length_tokens)
    client_s = of_step.client_forward_s + of_step.client_backward_s + of_step.client_optimizer_s
    if isinstance(of_step, UShapeStepCosts):
        client_s += of_step.head_forward_s + of_step.head_backward_s
    return Computing(client_s=client_s, server_s=of_step.server_step_s)
