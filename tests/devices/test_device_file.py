import dataclasses

import pytest

from devices.defaults import defaults
from devices.device_file import device_profile
from devices.profiles import DeviceProfile
from devices.strict_yaml import InputError, parse_document

MINIMAL = """\
tier: jetson
accelerator: unified-gpu
peak_fp32_tflops: 1.28
memory_gib: 8
memory_bandwidth_gbyte_per_s: 68
"""


def profile(text: str) -> DeviceProfile:
    return device_profile(parse_document(text, "folder/my-board.yaml"), "my-board")


def refused(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        profile(text)
    return str(caught.value).splitlines()


def test_plain_numbers_are_the_users_own() -> None:
    board = profile(MINIMAL)

    assert board.id == board.label == "my-board"
    assert board.peak_flops_per_s == {"float32": 1.28e12}
    assert board.memory_bytes == 8 * 2**30
    assert board.memory_bandwidth_bytes_per_s == 68e9
    origin = board.provenance["peak_flops_per_s.float32"]
    assert (origin.kind, origin.source) == ("user", "my-board.yaml")


def test_blanks_are_filled_from_the_tier_and_shown_as_assumed_with_the_reason() -> None:
    board, tier = profile(MINIMAL), defaults().tiers["jetson"]

    assert board.achieved_frac == tier.achieved_frac.value
    assert board.bandwidth_efficiency_frac == 0.8
    assert board.memory_usable_bytes == int(tier.memory_usable_frac.value * 8 * 2**30)
    assert (board.block_overhead_forward_s, board.block_overhead_backward_s) == (0.0015, 0.003)
    for field in (
        "achieved_frac",
        "bandwidth_efficiency_frac",
        "memory_usable_bytes",
        "block_overhead_forward_s",
        "block_overhead_backward_s",
    ):
        assert board.provenance[field].kind == "assumed"
        assert board.provenance[field].source


def test_what_has_no_default_stays_unknown() -> None:
    board = profile(MINIMAL)

    assert board.power_active_w is None
    assert board.cpu_peak_flops_per_s is None
    assert board.training_frac is None
    assert {"power_active_w", "cpu_peak_flops_per_s", "training_frac"}.isdisjoint(board.provenance)


def test_a_stated_number_keeps_its_origin_and_beats_the_default() -> None:
    board = profile(
        MINIMAL
        + "source: data sheet\n"
        + "achieved_frac: {value: 0.5, kind: measured, source: my bench, note: fp16}\n"
        + "power_active_w: {value: 15, kind: vendor}\n"
        + "block_overhead_forward_ms: 0.5\n"
        + "memory_usable_gib: {value: 5, kind: recalled}\n"
        + "training_frac: {low: 0.1, high: 0.2, kind: third-party}\n"
    )

    assert (board.achieved_frac, board.power_active_w, board.block_overhead_forward_s) == (0.5, 15.0, 0.0005)
    assert dataclasses.astuple(board.provenance["achieved_frac"]) == ("measured", "my bench", "fp16")
    assert dataclasses.astuple(board.provenance["power_active_w"]) == ("vendor", "data sheet", "")
    assert board.training_frac == (0.1, 0.2)
    # A recalled number does not stand in the file's document.
    assert board.provenance["memory_usable_bytes"].source.startswith("no document")


def test_a_device_has_only_the_dtypes_that_its_file_states() -> None:
    both = profile(MINIMAL + "peak_fp16_tflops: 10.2\npeak_bf16_tflops: {value: 10.2, kind: vendor}\n")

    assert both.peak_flops_per_s == {"float32": 1.28e12, "float16": 10.2e12, "bfloat16": 10.2e12}
    assert list(profile(MINIMAL).peak_flops_per_s) == ["float32"]


def test_an_id_in_the_file_beats_the_name_of_the_file() -> None:
    assert profile("id: other\n" + MINIMAL).id == "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace("1.28", "-1"), "peak_fp32_tflops: expected a number of at least 1e-09 or a mapping, got -1"),
        (MINIMAL.replace("1.28", "0"), "peak_fp32_tflops: expected a number of at least 1e-09 or a mapping, got 0"),
        # Of such a rate every time is infinite, or none, and the clock stands still.
        (MINIMAL.replace("1.28", "1e-320"), "peak_fp32_tflops: expected a number of at least 1e-09 or a mapping"),
        (MINIMAL.replace("1.28", "1e300"), "peak_fp32_tflops: expected a number of at most 1,000,000,000 or a mapping"),
        (MINIMAL + "achieved_frac: 1e-320\n", "achieved_frac: expected a number of at least 1e-09 or a mapping"),
        (MINIMAL + "power_idle_w: {value: 1e300}\n", "power_idle_w.value: expected a number of at most 1,000,000,000"),
        (MINIMAL.replace("68", "-68"), "memory_bandwidth_gbyte_per_s: expected a number of at least 1e-09"),
        (MINIMAL.replace("68", "fast"), "memory_bandwidth_gbyte_per_s: expected a number or a mapping, got 'fast'"),
        (MINIMAL + "achieved_frac: 1.2\n", "achieved_frac: expected a number of at most 1 or a mapping, got 1.2"),
        (MINIMAL + "achieved_frac: {value: 1.2}\n", "achieved_frac.value: expected a number of at most 1, got 1.2"),
        (MINIMAL + "power_active_w: {value: 5, kind: guess}\n", "power_active_w.kind: expected 'vendor', "),
        (MINIMAL + "power_active_w: {kind: vendor}\n", "power_active_w.value: this key is required"),
        (MINIMAL + "block_overhead_forward_ms: 0\n", "block_overhead_forward_ms: expected a number of at least 1e-09"),
        (MINIMAL + "memory_gb: 8\n", "memory_gb: unknown key; allowed: type, id, label, "),
        (MINIMAL.replace("jetson", "jetsen"), "tier: unknown tier 'jetsen'; allowed: server-gpu, desktop-gpu, "),
        (
            MINIMAL.replace("unified-gpu", "tpu"),
            "accelerator: expected 'gpu', 'unified-gpu', 'igpu' or 'cpu', got 'tpu'",
        ),
        (MINIMAL + "memory_usable_gib: 9\n", "memory_usable_gib: more than memory_gib; "),
        (MINIMAL + "training_frac: {low: 0.3, high: 0.2}\n", "training_frac: low must not be above high"),
        (MINIMAL + "id: My Board\n", "id: 'My Board' is no id: use a-z, "),
        (MINIMAL + "type: network\n", "type: expected 'device', got 'network'"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_key(text: str, message: str) -> None:
    (line,) = refused(text)

    assert message in line
    assert line.startswith("folder/my-board.yaml:")
    assert line.split(":")[1].isdigit()


def test_missing_keys_are_all_told_at_once() -> None:
    lines = refused("tier: jetson\n")

    assert [line.split(": ")[1] for line in lines] == [
        "accelerator",
        "peak_fp32_tflops",
        "memory_gib",
        "memory_bandwidth_gbyte_per_s",
    ]
