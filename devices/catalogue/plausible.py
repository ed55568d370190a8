"""What of a device file is likely a slip of units: it could be true, so that nobody is refused for it."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

from devices.catalogue.lookup import Catalogue
from devices.device_file import PEAKS
from devices.measured_blocks import MeasuredBlock
from devices.profiles import DeviceProfile
from devices.units import GIBI, GIGA, MS, TERA

FAR = 30
"""So many times beyond every shipped device is too far to go without a word."""

Value = Callable[[DeviceProfile], float | None]


def _field(name: str, unit: float) -> Value:
    def value(device: DeviceProfile) -> float | None:
        number = getattr(device, name)
        return None if number is None else number / unit

    return value


def _peak(dtype: str, device: DeviceProfile) -> float | None:
    peak = device.peak_flops_per_s.get(dtype)
    return None if peak is None else peak / TERA


# By key of a device file: its number in the file's unit.
VALUES: Mapping[str, Value] = {
    **{key: partial(_peak, dtype) for dtype, key in PEAKS.items()},
    "memory_gib": _field("memory_bytes", GIBI),
    "memory_bandwidth_gbyte_per_s": _field("memory_bandwidth_bytes_per_s", GIGA),
    "power_active_w": _field("power_active_w", 1),
    "power_idle_w": _field("power_idle_w", 1),
    "power_transmit_w": _field("power_transmit_w", 1),
    "power_receive_w": _field("power_receive_w", 1),
    "block_overhead_forward_ms": _field("block_overhead_forward_s", MS),
    "block_overhead_backward_ms": _field("block_overhead_backward_s", MS),
    "cpu_peak_fp32_tflops": _field("cpu_peak_flops_per_s", TERA),
}

# Keys whose range is that of another one, because no shipped device states them, or only those of a few tiers do.
LIKE = {
    "peak_bf16_tflops": "peak_fp16_tflops",
    "power_idle_w": "power_active_w",
    "power_transmit_w": "power_active_w",
    "power_receive_w": "power_active_w",
    "cpu_peak_fp32_tflops": "peak_fp32_tflops",
}
MAY_BE_TINY = {"power_idle_w", "power_transmit_w", "power_receive_w"}  # next to nothing, in a device that sleeps


def doubts(device: DeviceProfile) -> list[str]:
    """Return what of a device is likely a slip of units.

    That is a number far beyond those of every shipped device, of whatever tier, and a measured block that takes less
    time than the device's own peak allows.
    """
    far = (_far(key, value(device)) for key, value in VALUES.items())
    return [f"device '{device.id}': {words}" for words in (*filter(None, far), *_too_fast(device))]


def _far(key: str, number: float | None) -> str | None:
    if number is None:
        return None
    least, most = _range(LIKE.get(key, key))
    if number > FAR * most:
        return f"{key} is {number:.6g}, over {FAR} times the most of any shipped device, {most:.6g}: is the unit right?"
    if number < least / FAR and key not in MAY_BE_TINY:
        least_words = f"less than 1/{FAR} of the least of any shipped device, {least:.6g}"
        return f"{key} is {number:.6g}, {least_words}: is the unit right?"
    return None


@cache
def _range(key: str) -> tuple[float, float]:
    """Return the least and the most of all shipped devices, in the unit of the key."""
    catalogue = Catalogue()
    numbers = [VALUES[key](catalogue.device(name)) for name in catalogue.ids("devices")]
    known = [number for number in numbers if number is not None]
    return min(known), max(known)


def _too_fast(device: DeviceProfile) -> Iterator[str]:
    """Yield which measured times need more than the peak: each pass has 2 FLOPs for every token and weight at least.

    Backwards that is the gradient of the input; frozen weights have none. Attention and adapters come on top.
    """
    for place, table in enumerate(device.measured_blocks):
        peak_flops_per_s = device.peak_flops_per_s.get(table.dtype, max(device.peak_flops_per_s.values()))
        for name in ("forward", "backward"):
            times = _times_peak(table, getattr(table, f"{name}_s"), peak_flops_per_s)
            if times > 1:
                yield (
                    f"measured_blocks.{place}.{name}_ms: {times:.3g} times faster than the device's peak allows: "
                    "are these milliseconds of one block?"
                )


def _times_peak(table: MeasuredBlock, seconds: tuple[float, ...], peak_flops_per_s: float) -> float:
    """Return the highest rate of a column over the peak."""
    flops = (2 * table.num_linear_weights * num_tokens for num_tokens in table.num_tokens)
    return max(work / time_s for work, time_s in zip(flops, seconds, strict=True)) / peak_flops_per_s
