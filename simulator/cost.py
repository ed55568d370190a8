"""What each phase of a protocol costs: seconds of compute, bytes of messages.

A protocol gets its work through one `Costs` object: it asks what a phase costs and then yields that long. Sharing of
links and of the server is not priced here; the clock finds it.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from devices.profiles import DeviceProfile
from simulator.seconds import check_terms, compute_s, memory_s
from workloads.codec_bytes import encoded_bytes
from workloads.counts import (
    PLAIN_ATTENTION,
    WEIGHT_BYTES,
    AttentionKernel,
    adapter_bytes,
    backward_flops,
    client_part,
    forward_flops,
    label_bytes,
    optimizer_bytes_touched,
    server_part,
)
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCosts:
    """One training step of one client: seconds of every phase, bytes of every message.

    Attributes:
        client_forward_s: forward pass and encoding of the activations.
        activation_bytes: the activations, encoded.
        label_bytes: labels and lengths, int32.
        server_step_s: decoding, forward, LM head, backward, encoding of the gradient, optimizer.
        gradient_bytes: the gradient at the cut, encoded.
        client_backward_s: decoding of the gradient and backward pass.
        client_optimizer_s: optimizer step of the client part.
    """

    client_forward_s: float
    activation_bytes: int
    label_bytes: int
    server_step_s: float
    gradient_bytes: int
    client_backward_s: float
    client_optimizer_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationCosts:
    """One validation batch of one client: the forward half of a step; nothing comes back but a loss.

    Attributes:
        client_forward_s, activation_bytes, label_bytes: as in a step.
        server_forward_s: decoding, forward, LM head.
    """

    client_forward_s: float
    activation_bytes: int
    label_bytes: int
    server_forward_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundCosts:
    """What a client exchanges once a round: the adapters of its own part, float32, at the ranks that it trains."""

    adapter_download_bytes: int
    adapter_upload_bytes: int


class Costs(Protocol):
    """What a protocol asks; all it knows about work."""

    def step(self, client: int, cut: int, batch_size: int, length_tokens: int) -> StepCosts:
        """Return the costs of one training step on a padded batch."""

    def validation(self, client: int, cut: int, batch_size: int, length_tokens: int) -> ValidationCosts:
        """Return the costs of measuring one padded batch."""

    def round(self, client: int, cut: int) -> RoundCosts:
        """Return the costs of taking part in a round."""

    def aggregate_s(self, cuts: Sequence[tuple[int, int]]) -> float:
        """Return how long the server averages the adapters of these (client, cut)."""


class ProfiledCosts:
    """Costs from the shape of a model and the profiles of devices.

    What is equal is computed once: a million clients cost as much as their distinct combinations of device, cut, batch
    and length.

    Args:
        shape: the model whose work is charged.
        lora: its adapters.
        dtype: of base model and activations.
        activation_codec: what is sent up at the cut.
        gradient_codec: what comes down.
        device_table: the kinds of devices in the fleet.
        device_index: for each client, which of them it is.
        server: the device of the server.
        kernel: how attention is computed.

    Raises:
        InputError: devices lack numbers that their costs need; all of them are named.
    """

    def __init__(
        self,
        *,
        shape: ModelShape,
        lora: LoraSpec,
        dtype: str,
        activation_codec: str,
        gradient_codec: str,
        device_table: Sequence[DeviceProfile],
        device_index: NDArray[np.integer],
        server: DeviceProfile,
        kernel: AttentionKernel = PLAIN_ATTENTION,
    ) -> None:
        check_terms([*device_table, server], dtype)
        self._shape, self._lora, self._dtype = shape, lora, dtype
        self._activation_codec, self._gradient_codec = activation_codec, gradient_codec
        self._device_table, self._device_index, self._server = tuple(device_table), device_index, server
        self._kernel = kernel
        self._step = functools.cache(self._new_step)
        self._validation = functools.cache(self._new_validation)
        self._server_s = functools.cache(self._new_server_s)
        self._adapter_bytes = functools.cache(self._new_adapter_bytes)

    def step(self, client: int, cut: int, batch_size: int, length_tokens: int) -> StepCosts:
        """Return the costs of one training step on a padded batch."""
        return self._step(int(self._device_index[client]), cut, batch_size, length_tokens)

    def validation(self, client: int, cut: int, batch_size: int, length_tokens: int) -> ValidationCosts:
        """Return the costs of measuring one padded batch."""
        return self._validation(int(self._device_index[client]), cut, batch_size, length_tokens)

    def round(self, client: int, cut: int) -> RoundCosts:  # noqa: ARG002
        """Return the bytes of the client part's adapters; they are the same on every device."""
        num_bytes, _ = self._adapter_bytes(cut)
        return RoundCosts(adapter_download_bytes=num_bytes, adapter_upload_bytes=num_bytes)

    def aggregate_s(self, cuts: Sequence[tuple[int, int]]) -> float:
        """Return how long the server averages the adapters of these (client, cut).

        It reads every client's whole adapter, client part and server part, and writes the average.
        """
        if not cuts:
            return 0.0
        read = sum(num * sum(self._adapter_bytes(cut)) for cut, num in Counter(cut for _, cut in cuts).items())
        written = adapter_bytes(client_part(self._shape, self._lora, cut=self._shape.num_blocks))
        return memory_s(read + written, self._server)

    def _new_step(self, device_number: int, cut: int, batch_size: int, length_tokens: int) -> StepCosts:
        device, part = self._device_table[device_number], client_part(self._shape, self._lora, cut)
        backward_s = compute_s(
            backward_flops(part, batch_size, length_tokens, self._kernel),
            num_tokens=batch_size * length_tokens,
            num_backward_blocks=cut,
            device=device,
            dtype=self._dtype,
        )
        gradient_coding_s = self._coding_s(self._gradient_codec, batch_size, length_tokens, device)
        return StepCosts(
            client_forward_s=self._client_forward_s(device, cut, batch_size, length_tokens),
            activation_bytes=self._encoded_bytes(self._activation_codec, batch_size, length_tokens),
            label_bytes=label_bytes(batch_size, length_tokens),
            server_step_s=self._server_s(cut, batch_size, length_tokens, is_training=True),
            gradient_bytes=self._encoded_bytes(self._gradient_codec, batch_size, length_tokens),
            client_backward_s=gradient_coding_s + backward_s,
            client_optimizer_s=memory_s(optimizer_bytes_touched(part), device),
        )

    def _new_validation(self, device_number: int, cut: int, batch_size: int, length_tokens: int) -> ValidationCosts:
        device = self._device_table[device_number]
        return ValidationCosts(
            client_forward_s=self._client_forward_s(device, cut, batch_size, length_tokens),
            activation_bytes=self._encoded_bytes(self._activation_codec, batch_size, length_tokens),
            label_bytes=label_bytes(batch_size, length_tokens),
            server_forward_s=self._server_s(cut, batch_size, length_tokens, is_training=False),
        )

    def _client_forward_s(self, device: DeviceProfile, cut: int, batch_size: int, length_tokens: int) -> float:
        forward_s = compute_s(
            forward_flops(client_part(self._shape, self._lora, cut), batch_size, length_tokens, self._kernel),
            num_tokens=batch_size * length_tokens,
            num_forward_blocks=cut,
            device=device,
            dtype=self._dtype,
        )
        return forward_s + self._coding_s(self._activation_codec, batch_size, length_tokens, device)

    def _new_server_s(self, cut: int, batch_size: int, length_tokens: int, *, is_training: bool) -> float:
        part, num_blocks = server_part(self._shape, self._lora, cut), self._shape.num_blocks - cut
        flops = forward_flops(part, batch_size, length_tokens, self._kernel)
        moving_s = self._coding_s(self._activation_codec, batch_size, length_tokens, self._server)
        if is_training:
            flops += backward_flops(part, batch_size, length_tokens, self._kernel)
            moving_s += self._coding_s(self._gradient_codec, batch_size, length_tokens, self._server)
            moving_s += memory_s(optimizer_bytes_touched(part), self._server)
        return moving_s + compute_s(
            flops,
            num_tokens=batch_size * length_tokens,
            num_forward_blocks=num_blocks,
            num_backward_blocks=num_blocks if is_training else 0,
            device=self._server,
            dtype=self._dtype,
        )

    def _new_adapter_bytes(self, cut: int) -> tuple[int, int]:
        """Return the bytes of the client part's and of the server part's adapters."""
        parts = (client_part(self._shape, self._lora, cut), server_part(self._shape, self._lora, cut))
        return adapter_bytes(parts[0]), adapter_bytes(parts[1])

    def _encoded_bytes(self, codec: str, batch_size: int, length_tokens: int) -> int:
        return encoded_bytes(codec, batch_size, length_tokens, self._shape.hidden_size)

    def _coding_s(self, codec: str, batch_size: int, length_tokens: int, device: DeviceProfile) -> float:
        """Return how long encoding or decoding takes: one side of it is read, the other written."""
        tensor_bytes = WEIGHT_BYTES[self._dtype] * batch_size * length_tokens * self._shape.hidden_size
        return memory_s(tensor_bytes + self._encoded_bytes(codec, batch_size, length_tokens), device)
