"""A device as its YAML file states it, and the profile in base units that follows."""

from typing import Literal

from pydantic.dataclasses import dataclass

from devices.defaults import defaults
from devices.measured_blocks_file import KEY as MEASURED_BLOCKS
from devices.measured_blocks_file import MeasuredBlockStated, measured_blocks, measured_problems
from devices.problems import InputError, did_you_mean
from devices.profiles import DeviceProfile, Provenance
from devices.strict_yaml import Document, validate
from devices.units import bytes_from_gib, bytes_per_s_from_gbyte_per_s, flops_per_s_from_tflops, s_from_ms
from devices.values import (
    STRICT,
    Confidence,
    Fraction,
    Id,
    Number,
    Positive,
    PositiveNumber,
    Share,
    Stated,
    origin_of,
    value_of,
)

PEAKS = {"float32": "peak_fp32_tflops", "float16": "peak_fp16_tflops", "bfloat16": "peak_bf16_tflops"}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FractionRange(Stated):
    """Lowest and highest published share."""

    low: Share
    high: Share

    def __post_init__(self) -> None:
        """Refuse a range that is upside down.

        Raises:
            ValueError: `low` is above `high`.
        """
        if self.low > self.high:
            msg = f"low must not be above high, got {self.low:g} and {self.high:g}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DeviceFile:
    """Keys of a device file, in human units. What may be left out has None here."""

    type: Literal["device"] = "device"
    id: Id | None = None
    label: str | None = None
    tier: str
    accelerator: Literal["gpu", "unified-gpu", "igpu", "cpu"]
    confidence: Confidence = "not stated"
    source: str | None = None
    notes: str = ""
    peak_fp32_tflops: Positive
    peak_fp16_tflops: Positive | None = None
    peak_bf16_tflops: Positive | None = None
    cpu_peak_fp32_tflops: Positive | None = None
    achieved_frac: Fraction | None = None
    bandwidth_efficiency_frac: Fraction | None = None
    memory_gib: Positive
    memory_usable_gib: Positive | None = None
    memory_bandwidth_gbyte_per_s: Positive
    power_active_w: Positive | None = None
    power_idle_w: Positive | None = None
    power_transmit_w: Positive | None = None
    power_receive_w: Positive | None = None
    block_overhead_forward_ms: Positive | None = None
    block_overhead_backward_ms: Positive | None = None
    training_frac: FractionRange | None = None
    measured_blocks: tuple[MeasuredBlockStated, ...] = ()


def device_profile(document: Document, name: str) -> DeviceProfile:
    """Return the profile that a device file states, its blanks filled from the defaults of its tier.

    Args:
        document: The file.
        name: Id of the device where the file gives none.

    Raises:
        InputError: The file breaks the rules; every violation is told.
    """
    stated = validate(DeviceFile, document)
    tiers = defaults().tiers
    if stated.tier not in tiers:
        allowed = f"allowed: {', '.join(tiers)}{did_you_mean(stated.tier, tiers)}"
        raise InputError(document.problem(f"unknown tier '{stated.tier}'; {allowed}", ("tier",), stated.tier))
    if problems := measured_problems(stated.measured_blocks, document):
        raise InputError(*problems)
    numbers = _Numbers(stated, document.file)
    profile = _profile(stated, numbers, stated.id or name)
    if profile.memory_usable_bytes > profile.memory_bytes:
        message = "more than memory_gib; it is the part of it that training can have"
        usable = numbers.required("memory_usable_bytes", "memory_usable_gib")
        raise InputError(document.problem(message, ("memory_usable_gib",), usable))
    return profile


class _Numbers:
    """The numbers of one file with its blanks filled; notes the origin of every number that is taken."""

    def __init__(self, stated: DeviceFile, file: str) -> None:
        self.origins: dict[str, Provenance] = {}
        self._stated = stated
        self._file = file
        self._blanks = _blanks(stated)

    def optional(self, field: str, key: str) -> float | None:
        """Return the number under a YAML key, noting its origin for a field of the profile; None where it is blank."""
        number = getattr(self._stated, key)
        number = self._blanks.get(key) if number is None else number
        if number is None:
            return None
        self.origins[field] = origin_of(number, self._stated.source, self._file)
        return value_of(number)

    def note(self, field: str, stated: Stated) -> None:
        """Note the origin of what is more than a number."""
        self.origins[field] = origin_of(stated, self._stated.source, self._file)

    def required(self, field: str, key: str) -> float:
        """As `optional`, for what is never blank."""
        number = self.optional(field, key)
        assert number is not None, f"{key} has neither a value nor a default"
        return number


def _blanks(stated: DeviceFile) -> dict[str, Number]:
    """Return what fills a blank, by YAML key."""
    common, tier = defaults().devices, defaults().tiers[stated.tier]
    share = tier.memory_usable_frac
    usable_gib = share.value * value_of(stated.memory_gib)
    return {
        "achieved_frac": tier.achieved_frac,
        "bandwidth_efficiency_frac": common.bandwidth_efficiency_frac,
        "memory_usable_gib": PositiveNumber(value=usable_gib, kind=share.kind, source=share.source, note=share.note),
        "block_overhead_forward_ms": common.block_overhead_forward_ms,
        "block_overhead_backward_ms": common.block_overhead_backward_ms,
    }


def _profile(stated: DeviceFile, numbers: _Numbers, name: str) -> DeviceProfile:
    """Return the profile in base units; the one place where a key of the file meets a field of the profile."""
    take, cpu_peak = numbers.required, numbers.optional("cpu_peak_flops_per_s", "cpu_peak_fp32_tflops")
    peaks = {dtype: numbers.optional(f"peak_flops_per_s.{dtype}", key) for dtype, key in PEAKS.items()}
    training = stated.training_frac
    if training is not None:
        numbers.origins["training_frac"] = origin_of(training, stated.source, name)
    for place, table in enumerate(stated.measured_blocks):
        numbers.note(f"{MEASURED_BLOCKS}.{place}", table)
    return DeviceProfile(
        id=name,
        label=stated.label or name,
        tier=stated.tier,
        accelerator=stated.accelerator,
        confidence=stated.confidence,
        peak_flops_per_s={dtype: flops_per_s_from_tflops(peak) for dtype, peak in peaks.items() if peak is not None},
        achieved_frac=take("achieved_frac", "achieved_frac"),
        bandwidth_efficiency_frac=take("bandwidth_efficiency_frac", "bandwidth_efficiency_frac"),
        memory_bytes=bytes_from_gib(take("memory_bytes", "memory_gib")),
        memory_usable_bytes=bytes_from_gib(take("memory_usable_bytes", "memory_usable_gib")),
        memory_bandwidth_bytes_per_s=bytes_per_s_from_gbyte_per_s(
            take("memory_bandwidth_bytes_per_s", "memory_bandwidth_gbyte_per_s")
        ),
        power_active_w=numbers.optional("power_active_w", "power_active_w"),
        power_idle_w=numbers.optional("power_idle_w", "power_idle_w"),
        power_transmit_w=numbers.optional("power_transmit_w", "power_transmit_w"),
        power_receive_w=numbers.optional("power_receive_w", "power_receive_w"),
        block_overhead_forward_s=s_from_ms(take("block_overhead_forward_s", "block_overhead_forward_ms")),
        block_overhead_backward_s=s_from_ms(take("block_overhead_backward_s", "block_overhead_backward_ms")),
        cpu_peak_flops_per_s=None if cpu_peak is None else flops_per_s_from_tflops(cpu_peak),
        training_frac=None if training is None else (training.low, training.high),
        measured_blocks=measured_blocks(stated.measured_blocks),
        notes=stated.notes,
        provenance=numbers.origins,
    )
