"""Seconds of forward and backward passes over a run of blocks: by the formula, or as measured where anybody has.

`cost.py` makes phases of a protocol out of these; `seconds.py` has the formula.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from devices.measured_blocks import MeasuredBlock
from devices.problems import InputError, Problem
from devices.profiles import DeviceProfile
from simulator.costs.seconds import compute_s
from workloads.counts import (
    AttentionKernel,
    Part,
    backward_flops,
    forward_flops,
    head_flops,
    recompute_flops,
)
from workloads.shapes import ModelShape


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    """How passes are computed.

    Attributes:
        dtype: of base model and activations.
        kernel: of attention.
        checkpointing: whether the backward pass computes its blocks again.
    """

    dtype: str
    kernel: AttentionKernel
    checkpointing: bool

    def seconds(
        self, part: Part, batch_size: int, length_tokens: int, device: DeviceProfile, *, forward: bool, backward: bool
    ) -> float:
        """Return how long a device takes for a forward pass, a backward pass or both, LM head included."""
        num_blocks, repeats = len(part.blocks), backward and self.checkpointing
        num_forward_blocks = num_blocks * (forward + repeats)
        num_backward_blocks = num_blocks * backward
        num_tokens = batch_size * length_tokens
        table = measured_block(device, part.shape, self.dtype)
        if table is not None:
            blocks_s = num_forward_blocks * table.forward(num_tokens) + num_backward_blocks * table.backward(num_tokens)
            outside = self._flops_outside_blocks(part, batch_size, length_tokens, forward=forward, backward=backward)
            return blocks_s + compute_s(outside, num_tokens=num_tokens, device=device, dtype=self.dtype)
        flops = forward_flops(part, batch_size, length_tokens, self.kernel) if forward else 0
        if backward:
            flops += backward_flops(part, batch_size, length_tokens, self.kernel)
        if repeats:
            flops += recompute_flops(part, batch_size, length_tokens, self.kernel)
        return compute_s(
            flops,
            num_tokens=num_tokens,
            num_forward_blocks=num_forward_blocks,
            num_backward_blocks=num_backward_blocks,
            device=device,
            dtype=self.dtype,
        )

    def _flops_outside_blocks(
        self, part: Part, batch_size: int, length_tokens: int, *, forward: bool, backward: bool
    ) -> int:
        """Return the FLOPs of the LM head and of projections around the blocks."""
        flops = head_flops(part, batch_size * length_tokens) if backward else 0
        if forward:
            flops += forward_flops(part, batch_size, length_tokens, self.kernel)
            flops -= recompute_flops(part, batch_size, length_tokens, self.kernel)
        return flops


def measured_block(device: DeviceProfile, shape: ModelShape, dtype: str) -> MeasuredBlock | None:
    """Return the times that were measured of such blocks on a device, where there are any."""
    wanted = (shape.hidden_size, shape.block.num_linear_weights, dtype)
    return next(
        (t for t in device.measured_blocks if (t.hidden_size, t.num_linear_weights, t.dtype) == wanted),
        None,
    )


def check_measured(devices: Iterable[DeviceProfile], shape: ModelShape, dtype: str, most_tokens: int) -> list[str]:
    """Make sure that measured times reach as far as the batches of a workload; return what a user should know of them.

    Args:
        devices: of fleet and server.
        shape: the model whose work is charged.
        dtype: of base model and activations.
        most_tokens: padded tokens of the largest batch.

    Raises:
        InputError: a table ends below the largest batch. Times are never extrapolated.
    """
    notes: dict[str, None] = {}
    problems: dict[str, Problem] = {}
    for device in devices:
        table = measured_block(device, shape, dtype)
        if table is None:
            notes |= dict.fromkeys(_unused(device, shape, dtype))
            continue
        fewest, most = table.num_tokens[0], table.most_tokens
        if most < most_tokens:
            message = (
                f"device {device.id!r}: its measured_blocks end at {most:,} tokens, and batches have up to "
                f"{most_tokens:,}; measure larger ones, or lower workload.batch_size or workload.max_length_tokens"
            )
            problems[device.id] = Problem(message, value=device.id)
        notes[
            f"device '{device.id}': times of blocks are measured, not modelled, from {fewest:,} to {most:,} tokens; "
            f"smaller batches take as long as {fewest:,}"
        ] = None
    if problems:
        raise InputError(*problems.values())
    return list(notes)


def _unused(device: DeviceProfile, shape: ModelShape, dtype: str) -> list[str]:
    """Return that the tables of a device are not used, none being of the blocks that are charged for; or nothing."""
    if not device.measured_blocks:
        return []
    measured = "; ".join(table.sizes for table in device.measured_blocks)
    charged = f"hidden_size {shape.hidden_size}, linear_weights {shape.block.num_linear_weights}, {dtype}"
    unused = f"device '{device.id}': its measured_blocks are not used, times of blocks follow the formula"
    return [f"{unused}: they are for {measured}, and the blocks charged for have {charged}"]
