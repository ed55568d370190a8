"""What each phase of a protocol costs: seconds of compute, bytes of messages.

A protocol gets its work through one `Costs` object: it asks what a phase costs and then yields that long. Sharing of
links and of the server is not priced here; the clock finds it.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from devices.profiles import DeviceProfile
from simulator.costs.exchange import Exchange, RoundCosts, StackedRanks
from simulator.costs.local_steps import LocalStepCosts, WholeStepCosts
from simulator.costs.moving import MoveCosts, move_costs
from simulator.costs.passes import Passes
from simulator.costs.seconds import check_terms, memory_s
from simulator.costs.u_shape_steps import UShapeStepCosts, u_shape_step_costs
from simulator.protocols.rounds import CutMove
from workloads.codec_bytes import Codec, encoded_bytes, reuses_indices
from workloads.counts import (
    PLAIN_ATTENTION,
    WEIGHT_BYTES,
    AttentionKernel,
    Part,
    client_part,
    label_bytes,
    optimizer_bytes_touched,
    server_part,
)
from workloads.pricing import priced_cut
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
        server_optimizer_s: the optimizer's part of `server_step_s`.
    """

    client_forward_s: float
    activation_bytes: int
    label_bytes: int
    server_step_s: float
    gradient_bytes: int
    client_backward_s: float
    client_optimizer_s: float
    server_optimizer_s: float


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


class Costs(Protocol):
    """What a protocol asks; all it knows about work."""

    def step(self, client: int, cut: int, batch_size: int, length_tokens: int) -> StepCosts:
        """Return the costs of one training step on a padded batch."""

    def validation(self, client: int, cut: int, batch_size: int, length_tokens: int) -> ValidationCosts:
        """Return the costs of measuring one padded batch."""

    def whole_step(self, client: int, batch_size: int, length_tokens: int) -> WholeStepCosts:
        """Return the costs of one training step on a padded batch where the model is not cut."""

    def local_step(self, client: int, cut: int, batch_size: int, length_tokens: int) -> LocalStepCosts:
        """Return the costs of one training step on a padded batch where the client has an auxiliary head."""

    def u_shape_step(self, client: int, cut: int, batch_size: int, length_tokens: int) -> UShapeStepCosts:
        """Return the costs of one training step on a padded batch where the client has norm and head."""

    def round(self, client: int, cut: int, stacked: StackedRanks) -> RoundCosts:
        """Return the costs of taking part in a round after an aggregation that left `stacked` to the base model."""

    def move(self, cut: int, move: CutMove) -> MoveCosts:
        """Return the costs of beginning a round with a cut that has moved."""

    def aggregate_s(self, cuts: Sequence[tuple[int, int]]) -> float:
        """Return how long the server aggregates the adapters of these (client, cut)."""


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
        aggregator: how adapters are aggregated.
        learning_blocks: blocks of the model that learns, in which cuts are counted; None where that is `shape`.
        kernel: how attention is computed.
        checkpointing: whether blocks are computed again in the backward pass, which is charged there.
        has_client_head: whether clients need final norm and LM head, too.

    Raises:
        InputError: devices lack numbers that their costs need; all of them are named.
    """

    def __init__(
        self,
        *,
        shape: ModelShape,
        lora: LoraSpec,
        dtype: str,
        activation_codec: Codec,
        gradient_codec: Codec,
        device_table: Sequence[DeviceProfile],
        device_index: NDArray[np.integer],
        server: DeviceProfile,
        aggregator: str = "segment",
        learning_blocks: int | None = None,
        kernel: AttentionKernel = PLAIN_ATTENTION,
        checkpointing: bool = False,
        has_client_head: bool = False,
    ) -> None:
        check_terms([*device_table, server], dtype)
        self._shape, self._lora, self._dtype = shape, lora, dtype
        self._num_blocks = learning_blocks or shape.num_blocks
        self._activation_codec, self._gradient_codec = activation_codec, gradient_codec
        self._sends_gradient_indices = not reuses_indices(activation_codec, gradient_codec)
        self._device_table, self._device_index, self._server = tuple(device_table), device_index, server
        self._passes = Passes(dtype=dtype, kernel=kernel, checkpointing=checkpointing)
        self._step = functools.cache(self._new_step)
        self._validation = functools.cache(self._new_validation)
        self._whole_step = functools.cache(self._new_whole_step)
        self._local_step = functools.cache(self._new_local_step)
        self._u_shape_step = functools.cache(self._new_u_shape_step)
        self._has_client_head = has_client_head
        self._server_s = functools.cache(self._new_server_s)
        self._round = functools.cache(self._new_round)
        self._move = functools.cache(self._new_move)
        self._parts = functools.cache(lambda cut: (self._client_part(cut), self._server_part(cut)))
        self._exchange = Exchange(
            aggregator,
            whole=client_part(shape, lora, cut=shape.num_blocks),
            parts=self._parts,
            dtype=dtype,
            server=server,
        )

    def step(self, client: int, cut: int, batch_size: int, length_tokens: int) -> StepCosts:
        """Return the costs of one training step on a padded batch."""
        return self._step(int(self._device_index[client]), cut, batch_size, length_tokens)

    def validation(self, client: int, cut: int, batch_size: int, length_tokens: int) -> ValidationCosts:
        """Return the costs of measuring one padded batch."""
        return self._validation(int(self._device_index[client]), cut, batch_size, length_tokens)

    def whole_step(self, client: int, batch_size: int, length_tokens: int) -> WholeStepCosts:
        """Return the costs of one training step on a padded batch where the model is not cut."""
        return self._whole_step(int(self._device_index[client]), batch_size, length_tokens)

    def local_step(self, client: int, cut: int, batch_size: int, length_tokens: int) -> LocalStepCosts:
        """Return the costs of one training step on a padded batch where the client has an auxiliary head."""
        return self._local_step(int(self._device_index[client]), cut, batch_size, length_tokens)

    def u_shape_step(self, client: int, cut: int, batch_size: int, length_tokens: int) -> UShapeStepCosts:
        """Return the costs of one training step on a padded batch where the client has norm and head."""
        return self._u_shape_step(int(self._device_index[client]), cut, batch_size, length_tokens)

    def round(self, client: int, cut: int, stacked: StackedRanks = ()) -> RoundCosts:
        """Return the costs of taking part in a round after an aggregation that left `stacked` to the base model."""
        return self._round(int(self._device_index[client]), cut, stacked)

    def move(self, cut: int, move: CutMove) -> MoveCosts:
        """Return the costs of beginning a round with a cut that has moved."""
        return self._move(cut, move)

    def stacked_ranks(self, cuts: Sequence[int]) -> StackedRanks:
        """Return what the aggregation of clients with these cuts leaves to the base model, for the next round."""
        return self._exchange.stacked_ranks(cuts)

    def aggregate_s(self, cuts: Sequence[tuple[int, int]]) -> float:
        """Return how long the server aggregates the adapters of these (client, cut)."""
        return self._exchange.aggregate_s([cut for _, cut in cuts])

    def _new_round(self, device_number: int, cut: int, stacked: StackedRanks) -> RoundCosts:
        return self._exchange.round(self._device_table[device_number], cut, stacked)

    def _new_move(self, cut: int, move: CutMove) -> MoveCosts:
        return move_costs(cut, move, parts=self._held_parts, dtype=self._dtype)

    def _held_parts(self, cut: int) -> tuple[Part, Part]:
        """Return what either side has to hold."""
        client, server = self._parts(cut)
        return replace(client, has_head=client.has_head or self._has_client_head), server

    def _new_step(self, device_number: int, cut: int, batch_size: int, length_tokens: int) -> StepCosts:
        device, part = self._device_table[device_number], self._client_part(cut)
        backward_s = self._backward_s(part, batch_size, length_tokens, device)
        gradient_bytes = self._gradient_bytes(batch_size, length_tokens)
        gradient_coding_s = self._coding_s(gradient_bytes, batch_size, length_tokens, device)
        return StepCosts(
            client_forward_s=self._client_forward_s(device, cut, batch_size, length_tokens),
            activation_bytes=self._activation_bytes(batch_size, length_tokens),
            label_bytes=label_bytes(batch_size, length_tokens),
            server_step_s=self._server_s(cut, batch_size, length_tokens, is_training=True),
            gradient_bytes=gradient_bytes,
            client_backward_s=gradient_coding_s + backward_s,
            client_optimizer_s=memory_s(optimizer_bytes_touched(part), device),
            server_optimizer_s=memory_s(optimizer_bytes_touched(self._server_part(cut)), self._server),
        )

    def _new_whole_step(self, device_number: int, batch_size: int, length_tokens: int) -> WholeStepCosts:
        device, part = self._device_table[device_number], self._client_part(self._num_blocks)
        return WholeStepCosts(
            forward_s=self._forward_s(part, batch_size, length_tokens, device),
            backward_s=self._backward_s(part, batch_size, length_tokens, device),
            optimizer_s=memory_s(optimizer_bytes_touched(part), device),
        )

    def _new_local_step(self, device_number: int, cut: int, batch_size: int, length_tokens: int) -> LocalStepCosts:
        device = self._device_table[device_number]
        part = replace(self._client_part(cut), has_head=True)
        activation_bytes = self._activation_bytes(batch_size, length_tokens)
        coding_s = self._coding_s(activation_bytes, batch_size, length_tokens, device)
        return LocalStepCosts(
            client_forward_s=self._forward_s(part, batch_size, length_tokens, device) + coding_s,
            activation_bytes=activation_bytes,
            label_bytes=label_bytes(batch_size, length_tokens),
            server_step_s=self._detached_server_s(cut, batch_size, length_tokens),
            client_backward_s=self._backward_s(part, batch_size, length_tokens, device),
            client_optimizer_s=memory_s(optimizer_bytes_touched(part), device),
        )

    def _new_u_shape_step(self, device_number: int, cut: int, batch_size: int, length_tokens: int) -> UShapeStepCosts:
        batch = batch_size, length_tokens
        return u_shape_step_costs(
            self._parts(cut),
            device=self._device_table[device_number],
            server=self._server,
            activation_bytes=self._activation_bytes(*batch),
            gradient_bytes=self._gradient_bytes(*batch),
            forward_s=lambda part, device: self._forward_s(part, *batch, device),
            backward_s=lambda part, device: self._backward_s(part, *batch, device),
            coding_s=lambda num_bytes, device: self._coding_s(num_bytes, *batch, device),
        )

    def _new_validation(self, device_number: int, cut: int, batch_size: int, length_tokens: int) -> ValidationCosts:
        device = self._device_table[device_number]
        return ValidationCosts(
            client_forward_s=self._client_forward_s(device, cut, batch_size, length_tokens),
            activation_bytes=self._activation_bytes(batch_size, length_tokens),
            label_bytes=label_bytes(batch_size, length_tokens),
            server_forward_s=self._server_s(cut, batch_size, length_tokens, is_training=False),
        )

    def _client_forward_s(self, device: DeviceProfile, cut: int, batch_size: int, length_tokens: int) -> float:
        forward_s = self._forward_s(self._client_part(cut), batch_size, length_tokens, device)
        return forward_s + self._coding_s(
            self._activation_bytes(batch_size, length_tokens), batch_size, length_tokens, device
        )

    def _forward_s(self, part: Part, batch_size: int, length_tokens: int, device: DeviceProfile) -> float:
        return self._passes.seconds(part, batch_size, length_tokens, device, forward=True, backward=False)

    def _backward_s(self, part: Part, batch_size: int, length_tokens: int, device: DeviceProfile) -> float:
        return self._passes.seconds(part, batch_size, length_tokens, device, forward=False, backward=True)

    def _detached_server_s(self, cut: int, batch_size: int, length_tokens: int) -> float:
        """Return a server step that sends no gradient: it stops at the server's own lowest adapter."""
        part = replace(self._server_part(cut), has_input_gradient=False)
        activation_bytes = self._activation_bytes(batch_size, length_tokens)
        return (
            self._coding_s(activation_bytes, batch_size, length_tokens, self._server)
            + self._passes.seconds(part, batch_size, length_tokens, self._server, forward=True, backward=True)
            + memory_s(optimizer_bytes_touched(part), self._server)
        )

    def _new_server_s(self, cut: int, batch_size: int, length_tokens: int, *, is_training: bool) -> float:
        part = self._server_part(cut)
        activation_bytes = self._activation_bytes(batch_size, length_tokens)
        moving_s = self._coding_s(activation_bytes, batch_size, length_tokens, self._server)
        if is_training:
            gradient_bytes = self._gradient_bytes(batch_size, length_tokens)
            moving_s += self._coding_s(gradient_bytes, batch_size, length_tokens, self._server)
            moving_s += memory_s(optimizer_bytes_touched(part), self._server)
        return moving_s + self._passes.seconds(
            part, batch_size, length_tokens, self._server, forward=True, backward=is_training
        )

    def _client_part(self, cut: int) -> Part:
        return client_part(self._shape, self._lora, priced_cut(cut, self._num_blocks, self._shape.num_blocks))

    def _server_part(self, cut: int) -> Part:
        return server_part(self._shape, self._lora, priced_cut(cut, self._num_blocks, self._shape.num_blocks))

    def _activation_bytes(self, batch_size: int, length_tokens: int) -> int:
        return encoded_bytes(self._activation_codec, batch_size, length_tokens, self._shape.hidden_size)

    def _gradient_bytes(self, batch_size: int, length_tokens: int) -> int:
        return encoded_bytes(
            self._gradient_codec,
            batch_size,
            length_tokens,
            self._shape.hidden_size,
            with_indices=self._sends_gradient_indices,
        )

    def _coding_s(self, num_bytes: int, batch_size: int, length_tokens: int, device: DeviceProfile) -> float:
        """Return how long encoding or decoding to or from `num_bytes` takes: one side is read, the other written."""
        tensor_bytes = WEIGHT_BYTES[self._dtype] * batch_size * length_tokens * self._shape.hidden_size
        return memory_s(tensor_bytes + num_bytes, device)
