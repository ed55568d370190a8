"""Devices with round numbers for tests of costs and memory, and a workload that is resolved quickly."""

from typing import Any

from devices.profiles import DeviceProfile

# Samples up to the longest that the quickstart allows, without a text that would have to be divided.
LENGTHS = "workload.dataset={source: lengths, distribution: lognormal, median_tokens: 100, sigma: 1.0}"


def device(**changes: Any) -> DeviceProfile:
    """Return a device of 8 TFLOP/s, a third of which it reaches, and 250 GB/s, 80 % of which it reaches."""
    values: dict[str, Any] = {
        "id": "box",
        "label": "Box",
        "tier": "test",
        "accelerator": "gpu",
        "confidence": "high",
        "peak_flops_per_s": {"float32": 8e12, "float16": 16e12},
        "achieved_frac": 1 / 3,
        "bandwidth_efficiency_frac": 0.8,
        "memory_bytes": 8 * 10**9,
        "memory_usable_bytes": 6 * 10**9,
        "memory_bandwidth_bytes_per_s": 250e9,
        "power_active_w": None,
        "block_overhead_forward_s": 0.25,
        "block_overhead_backward_s": 0.5,
        "cpu_peak_flops_per_s": None,
        "training_frac": None,
        "notes": "",
        "provenance": {},
    }
    return DeviceProfile(**{**values, **changes})
