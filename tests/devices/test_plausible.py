"""What of a device file is likely a slip of units."""

import pytest

from devices.catalogue.lookup import Catalogue
from devices.catalogue.plausible import VALUES, doubts
from devices.device_file import device_profile
from devices.strict_yaml import parse_document
from tests.devices.test_measured_blocks import DEVICE, TABLE


def told(text: str) -> list[str]:
    return doubts(device_profile(parse_document(text, "board.yaml"), "board"))


def test_no_shipped_device_is_doubted() -> None:
    catalogue = Catalogue()
    assert [doubt for name in catalogue.ids("devices") for doubt in doubts(catalogue.device(name))] == []


def test_every_key_with_a_unit_is_looked_at() -> None:
    from devices.device_file import DeviceFile

    with_unit = {
        key for key in DeviceFile.__dataclass_fields__ if key.endswith(("_tflops", "_gib", "_per_s", "_w", "_ms"))
    }
    assert with_unit - {"memory_usable_gib"} == set(VALUES)  # that one is at most memory_gib


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "tflops: 1.28",
            "tflops: 1280000",
            "peak_fp32_tflops is 1.28e+06, over 30 times the most of any shipped device, ",
        ),
        ("tflops: 1.28", "tflops: 0.00128", "peak_fp32_tflops is 0.00128, less than 1/30 of the least of any shipped"),
        (
            "memory_gib: 8",
            "memory_gib: 8192000",
            "memory_gib is 8.192e+06, over 30 times the most of any shipped device, 512",
        ),
        ("per_s: 68", "per_s: 0.068", "memory_bandwidth_gbyte_per_s is 0.068, less than 1/30 of the least"),
        ("memory_gib: 8", "memory_gib: 8\npower_idle_w: 99999", "power_idle_w is 99999, over 30 times the most"),
        (
            "memory_gib: 8",
            "memory_gib: 8\nblock_overhead_forward_ms: 1500",
            "block_overhead_forward_ms is 1500, over 30",
        ),
    ],
)
def test_a_number_far_beyond_every_shipped_device_is_doubted(before: str, after: str, words: str) -> None:
    assert told(DEVICE) == []
    [doubt] = told(DEVICE.replace(before, after))
    assert doubt.startswith(f"device 'board': {words}")
    assert doubt.endswith(": is the unit right?")


def test_a_device_that_sleeps_takes_next_to_nothing() -> None:
    assert told(DEVICE + "power_idle_w: 0.001\n") == []


def test_a_block_faster_than_the_peak_allows_is_doubted() -> None:
    # 2 FLOPs for each of 49,152 weights and 40 tokens take 3.07 us at 1.28 TFLOP/s; at 10 and 20 tokens less
    assert told(DEVICE + TABLE) == []
    fast = TABLE.replace("[1, 2, 8]", "[1, 2, 0.001]").replace("[3, 4, 16]", "[3, 4, 0.0031]")
    [doubt] = told(DEVICE + fast)
    assert doubt.startswith("device 'board': measured_blocks.0.forward_ms: 3.07 times faster than the device's peak")
