"""What steps cost in which clients find their gradients themselves: without a split, or with a head at the cut."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeStepCosts:
    """One step of the whole model on the client, norm and head included; nothing is sent.

    Attributes:
        forward_s: forward pass and loss.
        backward_s: backward pass.
        optimizer_s: optimizer step of all adapters.
    """

    forward_s: float
    backward_s: float
    optimizer_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalStepCosts:
    """One step in which the client learns from an auxiliary head at the cut, and the server from what it is sent.

    The auxiliary head is the model's own, frozen: final norm and LM head, 2dV FLOPs a token in either direction.

    Attributes:
        client_forward_s: forward pass with the head, and encoding of the activations.
        activation_bytes, label_bytes: as in a split step.
        server_step_s: decoding, forward, LM head, backward down to its own lowest adapter, optimizer.
        client_backward_s: backward pass from the auxiliary loss.
        client_optimizer_s: optimizer step of the client part.
    """

    client_forward_s: float
    activation_bytes: int
    label_bytes: int
    server_step_s: float
    client_backward_s: float
    client_optimizer_s: float
