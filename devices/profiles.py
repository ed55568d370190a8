"""What a device can do, in base units, with the origin of every number."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from devices.measured_blocks import MeasuredBlock


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a number comes from.

    Attributes:
        kind: `vendor`, `measured`, `derived`, `third-party`, `recalled` (from memory, no document), `assumed` (chosen,
            or filled from a default) or `user` (a plain number in a user's file).
        source: Document, repository, or the reason of an assumption.
        note: What else is worth knowing about the number.
    """

    kind: str
    source: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """One kind of hardware.

    Attributes:
        id: The catalogue's name of the device.
        label: Free text.
        tier: Class of hardware, from which blanks were filled, such as `phone-mid`.
        accelerator: `gpu`, `unified-gpu` (shares the main memory), `igpu` or `cpu`.
        confidence: `high`, `medium`, `low` or `not stated`, for the profile as a whole.
        peak_flops_per_s: Dense peak by dtype (`float32`, `float16`, `bfloat16`); only the dtypes that the hardware has.
        achieved_frac: Share of the peak that large matrix products of a transformer reach.
        bandwidth_efficiency_frac: Share of the memory bandwidth that they reach.
        memory_bytes: Memory of the accelerator, or of the whole machine where it is shared.
        memory_usable_bytes: What is left of it for training.
        memory_bandwidth_bytes_per_s: Peak bandwidth of that memory.
        power_active_w: Power of the whole device while it computes; None where it is not known, as for the next three.
        power_idle_w: While it waits.
        power_transmit_w: While it sends, and does nothing else.
        power_receive_w: While it receives, and does nothing else.
        block_overhead_forward_s: Time of a decoder block's forward pass besides its arithmetic (launches, framework).
        block_overhead_backward_s: The same for its backward pass.
        cpu_peak_flops_per_s: float32 peak of the processor beside the accelerator; None where it is not known.
        training_frac: Lowest and highest share of the peak that published LoRA training reached end to end; a property
            of the training software as much as of the device, so no cost follows from it. None where nothing is known.
        measured_blocks: Times of blocks that were measured on it; they replace the formula for such blocks.
        notes: Free text of the catalogue.
        provenance: Origin of each number, by field; a peak has the key `peak_flops_per_s.float32`.
    """

    id: str
    label: str
    tier: str
    accelerator: str
    confidence: str
    peak_flops_per_s: Mapping[str, float] = field(hash=False)
    achieved_frac: float
    bandwidth_efficiency_frac: float
    memory_bytes: int
    memory_usable_bytes: int
    memory_bandwidth_bytes_per_s: float
    power_active_w: float | None
    power_idle_w: float | None = None
    power_transmit_w: float | None = None
    power_receive_w: float | None = None
    block_overhead_forward_s: float
    block_overhead_backward_s: float
    cpu_peak_flops_per_s: float | None
    training_frac: tuple[float, float] | None
    measured_blocks: tuple[MeasuredBlock, ...] = ()
    notes: str
    provenance: Mapping[str, Provenance] = field(hash=False)
