"""Memory that training takes on each side of the cut, and the deepest cut that a device can hold.

The peak is at the start of the backward pass: all that autograd saved is there, and the first gradients are being
computed. It is counted tensor by tensor (`workloads.activations`). What an allocator wastes is not modelled. Compared
with the growth of resident memory on CPU (clients with 6 blocks of GPT-2 and 10 of SmolLM2-135M, 4 x 512 tokens):
within 2 % where every tensor has pages of its own, but up to twice the count under glibc's defaults, which keep freed
tensors. A server with a head grew by 17 % more, because cross entropy on shifted logits makes another copy of them.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from devices.problems import InputError, Problem
from devices.profiles import DeviceProfile
from workloads.activations import activation_bytes
from workloads.counts import (
    ADAPTER_BYTES,
    WEIGHT_BYTES,
    Part,
    adapter_parameters,
    base_bytes,
    client_part,
    held_parameters,
    logits_bytes,
    server_part,
)
from workloads.pricing import priced_cut
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape

# Interpreter, libraries and kernels before the first weight is loaded. Assumed for every device: Python with torch,
# transformers and peft took 0.40 GB of resident memory on Linux, kernels 0.03 GB; a CUDA context takes as much.
RUNTIME_BYTES = 512 * 2**20

_MOMENTS = 2  # AdamW keeps the mean of the gradient and of its square (Kingma & Ba 2015)

# Temporaries as wide as the widest linear that are alive at once while a block is passed backwards: the gradients on
# both sides of an activation function and two intermediate products; 3 to 5 of them were measured.
_WIDE_TEMPORARIES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class PartMemory:
    """Peak memory of one side of the cut, in bytes.

    Attributes:
        weights_bytes: frozen base model in its dtype, and its constant buffers.
        adapters_bytes: weights, and for each trained value a gradient and two moments, float32.
        activations_bytes: what autograd saves.
        logits_bytes: logits, log-softmax and gradient; 0 without an LM head.
        workspace_bytes: tensor and gradient at the cut, temporaries of the block at work.
        runtime_bytes: the process without any of this.
    """

    weights_bytes: int
    adapters_bytes: int
    activations_bytes: int
    logits_bytes: int
    workspace_bytes: int
    runtime_bytes: int

    @property
    def total_bytes(self) -> int:
        """Return all of it."""
        return (
            self.weights_bytes
            + self.adapters_bytes
            + self.activations_bytes
            + self.logits_bytes
            + self.workspace_bytes
            + self.runtime_bytes
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryRow:
    """One line of the table by cut: the client's memory, and the server's if every client has this cut."""

    cut: int
    client: PartMemory
    server: PartMemory


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryModel:
    """Memory by cut, for the largest batch of a workload.

    Attributes:
        shape: the model.
        lora: its adapters, trained by AdamW.
        dtype: of base model and activations.
        batch_size: B.
        length_tokens: T, the longest padded sample.
        runtime_bytes: see `RUNTIME_BYTES`.
        learning_blocks: blocks of the model that learns, in which cuts are counted; None where that is `shape` itself.
        checkpointing: whether blocks keep their inputs alone for the backward pass and compute the rest again.
        is_split: whether the model is cut; else clients hold all of it and the server only averages.
        has_server_copies: whether the server has a copy of its part's adapters for every client, or one for all.
        has_auxiliary_head: whether clients have final norm and LM head as well, and their own loss.
        has_client_head: whether clients have them instead of the server, which keeps what it computed for a client from
            its turn forward to its turn backward.
    """

    shape: ModelShape
    lora: LoraSpec
    dtype: str
    batch_size: int
    length_tokens: int
    runtime_bytes: int = RUNTIME_BYTES
    learning_blocks: int | None = None
    checkpointing: bool = False
    is_split: bool = True
    has_server_copies: bool = True
    has_auxiliary_head: bool = False
    has_client_head: bool = False

    @property
    def cuts(self) -> range:
        """Return the cuts that there can be: those that leave the server a block, or, without a split, all blocks."""
        return range(1, self.num_blocks) if self.is_split else range(self.num_blocks, self.num_blocks + 1)

    @property
    def num_blocks(self) -> int:
        """Return the blocks in which cuts are counted."""
        return self.learning_blocks or self.shape.num_blocks

    def client(self, cut: int) -> PartMemory:
        """Return the memory of a client with blocks 1..cut."""
        part = self._client_part(cut)
        if self.has_auxiliary_head or self.has_client_head:
            part = replace(part, has_head=True)
        return PartMemory(
            weights_bytes=base_bytes(part, self.dtype),
            adapters_bytes=ADAPTER_BYTES * (held_parameters(part) + (1 + _MOMENTS) * adapter_parameters(part)),
            activations_bytes=self._activations(part),
            logits_bytes=self._logits(part),
            workspace_bytes=self._workspace(),
            runtime_bytes=self.runtime_bytes,
        )

    def server(self, cuts: Sequence[int], *, steps_at_once: int) -> PartMemory:
        """Return the memory of one accelerator of a server, which has the adapters of every client, or one for all.

        Whoever is free serves whoever is next, so each has the base model and a copy of its part's adapters for every
        client. Gradients, activations and logits exist for the steps under way on it; each is counted with the largest
        part.

        Args:
            cuts: one for each client that takes part in a round; all blocks where nothing is cut.
            steps_at_once: under way on this accelerator: 1, but for processor sharing.
        """
        if not self.is_split:
            return self._averaging(len(cuts))
        if not self.has_server_copies:
            cuts = [min(cuts)]
        part = self._server_part(min(cuts))
        num_clients = Counter(cuts)
        parts = {cut: self._server_part(cut) for cut in num_clients}
        num_values = {cut: adapter_parameters(part) for cut, part in parts.items()}
        kept_bytes = steps_at_once * self._activations(part)
        if self.has_client_head:  # between a client's two turns its activations stay; at worst everybody's at once
            kept_bytes = sum(num * self._activations(parts[cut]) for cut, num in num_clients.items())
        kept = sum(num * (held_parameters(parts[cut]) + _MOMENTS * num_values[cut]) for cut, num in num_clients.items())
        return PartMemory(
            weights_bytes=base_bytes(part, self.dtype),
            adapters_bytes=ADAPTER_BYTES * (kept + steps_at_once * max(num_values.values())),
            activations_bytes=kept_bytes,
            logits_bytes=steps_at_once * self._logits(part),
            workspace_bytes=steps_at_once * self._workspace(),
            runtime_bytes=self.runtime_bytes,
        )

    def _averaging(self, num_clients: int) -> PartMemory:
        """Return the memory of a server that runs no model: the global adapter and those that are handed in."""
        whole = self._client_part(self.num_blocks)
        return PartMemory(
            weights_bytes=0,
            adapters_bytes=ADAPTER_BYTES * (1 + num_clients) * held_parameters(whole),
            activations_bytes=0,
            logits_bytes=0,
            workspace_bytes=0,
            runtime_bytes=self.runtime_bytes,
        )

    def table(self, *, num_clients: int, steps_at_once: int) -> tuple[MemoryRow, ...]:
        """Return one row for each of `cuts`."""
        return tuple(
            MemoryRow(
                cut=cut,
                client=self.client(cut),
                server=self.server([cut] * num_clients, steps_at_once=steps_at_once),
            )
            for cut in self.cuts
        )

    def _client_part(self, cut: int) -> Part:
        return client_part(self.shape, self.lora, priced_cut(cut, self.num_blocks, self.shape.num_blocks))

    def _server_part(self, cut: int) -> Part:
        part = server_part(self.shape, self.lora, priced_cut(cut, self.num_blocks, self.shape.num_blocks))
        return replace(part, has_head=False) if self.has_client_head else part

    def _activations(self, part: Part) -> int:
        return activation_bytes(part, self.batch_size, self.length_tokens, self.dtype, checkpointing=self.checkpointing)

    def _logits(self, part: Part) -> int:
        return logits_bytes(self.shape, self.batch_size, self.length_tokens) if part.has_head else 0

    def _workspace(self) -> int:
        widest = max(linear.d_out for linear in self.shape.block.linears)
        num_values = _WIDE_TEMPORARIES * widest + 2 * self.shape.hidden_size
        return WEIGHT_BYTES[self.dtype] * self.batch_size * self.length_tokens * num_values


def max_feasible_cut(device: DeviceProfile, memory: MemoryModel, *, max_cut: int | None = None) -> int:
    """Return the deepest cut whose client part fits into the usable memory of a device; 0 if not even one block does.

    Args:
        device: the client's.
        memory: of the workload.
        max_cut: the deepest cut to consider; by default the deepest there can be.

    Raises:
        InputError: the device's usable memory is unknown.
    """
    usable = device.memory_usable_bytes
    if not usable or usable < 0:
        raise InputError(Problem(f"device {device.id!r}: memory_usable_bytes is {usable}; which cut fits is unknown"))
    deepest = memory.cuts[-1] if max_cut is None else max_cut
    # A deeper cut never takes less memory, so the cuts that fit are the first ones.
    return bisect_right(range(1, deepest + 1), usable, key=lambda cut: memory.client(cut).total_bytes)
