"""Training software by name: which share of a device's attainable rate a whole training step reaches with it."""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from devices.problems import InputError, Problem, did_you_mean
from devices.profiles import DeviceProfile, Provenance
from devices.strict_yaml import read_document, validate
from devices.units import flops_per_s_from_tflops
from devices.values import STRICT, FractionNumber, PositiveNumber

FILE = Path(__file__).parent / "catalogue" / "training_stacks.yaml"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingStack:
    """One training software.

    Attributes:
        label: Free text.
        processor: What it computes on.
        frac: What it reaches: of `achieved_frac` of an accelerator, or of the float32 peak of a processor.
        cpu_peak_fp32_tflops: The peak that `frac` belongs to, for devices that do not state their processor's.
    """

    label: str
    processor: Literal["accelerator", "cpu"]
    frac: FractionNumber
    cpu_peak_fp32_tflops: PositiveNumber | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.processor == "cpu") != (self.cpu_peak_fp32_tflops is not None):
            raise PydanticCustomError("disagreement", "cpu_peak_fp32_tflops belongs to processor cpu, and only to it")
        return self


@cache
def training_stacks() -> dict[str, TrainingStack]:
    """Return the shipped stacks by name, read once."""
    return validate(dict[str, TrainingStack], read_document(FILE))


def training_stack(name: str) -> TrainingStack:
    """Return a stack.

    Raises:
        InputError: There is none of this name.
    """
    stacks = training_stacks()
    if name not in stacks:
        allowed = f"allowed: {', '.join(stacks)}{did_you_mean(name, stacks)}"
        raise InputError(Problem(f"unknown training stack '{name}'; {allowed}", value=name))
    return stacks[name]


def under_stack(device: DeviceProfile, name: str) -> DeviceProfile:
    """Return what a device is worth to a training stack: another `achieved_frac`, for a processor also another peak.

    The bandwidth term of the cost model, overheads of blocks and measured blocks stay as they are.

    Raises:
        InputError: There is no stack of this name.
    """
    stack = training_stack(name)
    origin = Provenance(kind=stack.frac.kind, source=stack.frac.source or "", note=f"training stack {name}")
    origins = {**device.provenance, "achieved_frac": origin}
    if stack.cpu_peak_fp32_tflops is None:
        frac = device.achieved_frac * stack.frac.value
        return dataclasses.replace(device, achieved_frac=frac, provenance=origins)
    assumed = flops_per_s_from_tflops(stack.cpu_peak_fp32_tflops.value)
    peak = assumed if device.cpu_peak_flops_per_s is None else device.cpu_peak_flops_per_s
    return dataclasses.replace(
        device,
        peak_flops_per_s={"float32": peak},
        cpu_peak_flops_per_s=peak,
        achieved_frac=stack.frac.value,
        provenance=origins,
    )
