"""What a U-shaped step costs: the server has the blocks in the middle, the client those before and all that follows."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from devices.profiles import DeviceProfile
from simulator.costs.seconds import memory_s
from workloads.counts import Part, optimizer_bytes_touched

OnDevice = Callable[[Part, DeviceProfile], float]
"""Seconds of a pass over a part, on a device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UShapeStepCosts:
    """One step in which final norm, LM head and loss are the client's; no label is sent.

    Attributes:
        client_forward_s: forward pass of the client's blocks, and encoding of their activations.
        activation_bytes: of the activations at the cut, and of those that come back: both are B x T x d, encoded.
        server_forward_s: decoding, forward pass of the server's blocks, encoding of their activations.
        head_forward_s: decoding of these, norm and LM head, 2dV FLOPs a token.
        head_backward_s: the gradient of the head's input, 2dV FLOPs a token, and its encoding.
        gradient_bytes: of the gradient of the head's input, and of that at the cut.
        server_backward_s: decoding, backward pass of the server's blocks, encoding of the gradient at the cut, and
            optimizer.
        client_backward_s: decoding of the gradient and backward pass of the client's blocks.
        client_optimizer_s: optimizer step of the client part.
    """

    client_forward_s: float
    activation_bytes: int
    server_forward_s: float
    head_forward_s: float
    head_backward_s: float
    gradient_bytes: int
    server_backward_s: float
    client_backward_s: float
    client_optimizer_s: float

    @property
    def server_step_s(self) -> float:
        """Return the seconds of both of the server's turns."""
        return self.server_forward_s + self.server_backward_s


def u_shape_step_costs(
    parts: tuple[Part, Part],
    *,
    device: DeviceProfile,
    server: DeviceProfile,
    activation_bytes: int,
    gradient_bytes: int,
    forward_s: OnDevice,
    backward_s: OnDevice,
    coding_s: Callable[[int, DeviceProfile], float],
) -> UShapeStepCosts:
    """Return what a step costs.

    Args:
        parts: before the cut, without a head, and behind it, with one, which goes to the client here.
        device: the client's.
        server: the server's.
        activation_bytes: of one tensor of activations on the wire, in either place the same.
        gradient_bytes: of one tensor of gradients, likewise.
        forward_s: seconds of a forward pass.
        backward_s: seconds of a backward pass.
        coding_s: seconds of encoding or decoding so many bytes on the wire.
    """
    first, last = parts
    middle = replace(last, has_head=False)
    head = replace(last, blocks=range(0), ranks=(), held_ranks=())
    return UShapeStepCosts(
        client_forward_s=forward_s(first, device) + coding_s(activation_bytes, device),
        activation_bytes=activation_bytes,
        server_forward_s=forward_s(middle, server) + 2 * coding_s(activation_bytes, server),
        head_forward_s=coding_s(activation_bytes, device) + forward_s(head, device),
        head_backward_s=backward_s(head, device) + coding_s(gradient_bytes, device),
        gradient_bytes=gradient_bytes,
        server_backward_s=backward_s(middle, server)
        + 2 * coding_s(gradient_bytes, server)
        + memory_s(optimizer_bytes_touched(middle), server),
        client_backward_s=coding_s(gradient_bytes, device) + backward_s(first, device),
        client_optimizer_s=memory_s(optimizer_bytes_touched(first), device),
    )
