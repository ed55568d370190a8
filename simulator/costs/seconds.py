"""Seconds taken by arithmetic, by memory and by messages on an idle link: the one cost model.

Pure arithmetic on base units: no clock, no torch, no randomness. Arithmetic is FLOPs over the rate that a device really
reaches at this batch, plus an overhead per block; work that only moves data is bytes over the bandwidth that is really
reached. A number that is missing is an error, never 0.
"""

import math
from collections.abc import Iterable
from functools import partial

from devices.problems import InputError, Problem
from devices.profiles import DeviceProfile
from workloads.counts import WEIGHT_BYTES

_TERMS = (
    "achieved_frac",
    "bandwidth_efficiency_frac",
    "memory_bandwidth_bytes_per_s",
    "block_overhead_forward_s",
    "block_overhead_backward_s",
)


def transfer_s(num_bytes: int, *, bytes_per_s: float, latency_s: float) -> float:
    """Return how long one message takes to arrive in full on an idle link.

    Latency plus size over bandwidth (Hockney 1994); a message of no bytes is not sent and costs nothing.
    """
    if num_bytes == 0:
        return 0.0
    if not (math.isfinite(bytes_per_s) and bytes_per_s > 0 and math.isfinite(latency_s) and latency_s >= 0):
        raise InputError(
            Problem(f"a link of {bytes_per_s} bytes/s and a latency of {latency_s} s has no transfer time")
        )
    return latency_s + num_bytes / bytes_per_s


def compute_s(
    flops: float,
    *,
    num_tokens: int,
    device: DeviceProfile,
    dtype: str,
    num_forward_blocks: int = 0,
    num_backward_blocks: int = 0,
) -> float:
    """Return how long matrix arithmetic takes: FLOPs over the rate reached, plus the overhead of each block passed.

    Args:
        flops: multiplications and additions.
        num_tokens: padded tokens that share each weight, B x T.
        device: who computes.
        dtype: of the weights.
        num_forward_blocks: blocks passed forwards.
        num_backward_blocks: blocks passed backwards.

    Raises:
        InputError: a number of the device that this needs is missing, not above 0 or not finite.
    """
    overhead_s = num_forward_blocks * _term(device, "block_overhead_forward_s")
    overhead_s += num_backward_blocks * _term(device, "block_overhead_backward_s")
    return flops / (_peak(device, dtype) * reached_frac(num_tokens, device=device, dtype=dtype)) + overhead_s


def reached_frac(num_tokens: int, *, device: DeviceProfile, dtype: str) -> float:
    """Return which part of its peak a device reaches when `num_tokens` share each weight.

    A roofline (Williams et al. 2009) with a rounded knee, fitted to public profiles of A100, A40 and H100 with 6 to
    13 % rms: 1/eff² = (1/e_max)² + (peak / (intensity · bandwidth reached))². A weight is read once and takes part in
    2 FLOPs for each token, so the intensity is 2 · num_tokens / bytes per weight.
    """
    intensity = 2 * num_tokens / WEIGHT_BYTES[dtype]
    by_memory = intensity * _bandwidth(device) / _peak(device, dtype)
    return 1 / math.hypot(1 / _term(device, "achieved_frac"), 1 / by_memory)


def memory_s(num_bytes: float, device: DeviceProfile) -> float:
    """Return how long it takes to read and write `num_bytes` in all: optimizer, codec, aggregation.

    Raises:
        InputError: the device's bandwidth is missing, not above 0 or not finite.
    """
    return num_bytes / _bandwidth(device)


def check_terms(table: Iterable[DeviceProfile], dtype: str) -> None:
    """Make sure that devices have all that costs in `dtype` need.

    Raises:
        InputError: naming every device and every number that is missing, not above 0 or not finite.
    """
    problems: dict[str, Problem] = {}
    for device in table:
        checks = [partial(_peak, device, dtype), *(partial(_term, device, field) for field in _TERMS)]
        for check in checks:
            try:
                check()
            except InputError as error:
                problems |= {str(problem): problem for problem in error.problems}
    if problems:
        raise InputError(*problems.values())


def _bandwidth(device: DeviceProfile) -> float:
    return _term(device, "memory_bandwidth_bytes_per_s") * _term(device, "bandwidth_efficiency_frac")


def _peak(device: DeviceProfile, dtype: str) -> float:
    if dtype not in device.peak_flops_per_s:
        has = ", ".join(device.peak_flops_per_s) or "none at all"
        raise InputError(Problem(f"device {device.id!r} has no peak_flops_per_s for {dtype}; it has {has}"))
    return _checked(device, f"peak_flops_per_s.{dtype}", device.peak_flops_per_s[dtype])


def _term(device: DeviceProfile, field: str) -> float:
    return _checked(device, field, getattr(device, field))


def _checked(device: DeviceProfile, field: str, value: float | None) -> float:
    if value is None or not math.isfinite(value) or value <= 0:
        raise InputError(
            Problem(f"device {device.id!r}: {field} is {value}; every cost term needs a finite number above 0")
        )
    return value
