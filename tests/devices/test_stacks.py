"""Training stacks: each factor is derived anew from the observation that it comes from."""

import math
from typing import Any

import pytest

from devices.catalogue.lookup import SHIPPED, Catalogue
from devices.problems import InputError
from devices.stacks import training_stack, training_stacks, under_stack
from devices.strict_yaml import read_document

QWEN_7B = (7.7e9, 32)  # parameters, blocks
S_A_BLOCK = 0.0045  # overhead of a block, forward and backward: what the cost model adds by itself


def observations(file: str, device: str) -> list[dict[str, Any]]:
    rows = read_document(SHIPPED / "efficiency" / f"{file}.yaml").data["observations"]
    return [row for row in rows if row["device"].startswith(device)]


@pytest.mark.parametrize(
    ("stack", "file"), [("pytorch-lora", "lora-end-to-end"), ("pytorch-qlora", "q-lora-end-to-end")]
)
def test_what_pytorch_reaches_is_measured_time_less_the_overhead_of_blocks(stack: str, file: str) -> None:
    # Of the longest sequence, which overheads matter least to: 4 N FLOPs a token (`flops_rule`) over the seconds that
    # are left of it, as a share of what matrix products reach there.
    row = max(observations(file, "a100"), key=lambda row: row["num_tokens"])
    (num_parameters, num_blocks), tokens = QWEN_7B, row["num_tokens"]
    assert (row["flops_rule"], tokens) == ("4N", 4096)
    flops = 4 * num_parameters * tokens
    step_s = flops / (row["achieved_tflops"] * 1e12)
    reached_flops_per_s = flops / (step_s - num_blocks * S_A_BLOCK)
    a100 = Catalogue().device("nvidia-a100-80gb-sxm")
    attainable_flops_per_s = a100.peak_flops_per_s["bfloat16"] * a100.achieved_frac
    assert training_stack(stack).frac.value == pytest.approx(reached_flops_per_s / attainable_flops_per_s, rel=0.02)


@pytest.mark.parametrize(
    ("stack", "file", "observed", "device", "dtype"),
    [
        ("pytorch-lora-small-gpu", "lora-end-to-end", "rtx-4060-8gb", "rtx-4060-8gb", "float16"),
        ("llama-cpp-vulkan-desktop", "lora-llama-cpp-vulkan", "rtx-4090", "rtx-4090", "float16"),
        ("llama-cpp-vulkan-adreno", "lora-llama-cpp-vulkan", "phone-sd8elite", "phone-sd8elite", "float32"),
        ("llama-cpp-vulkan-mali", "lora-llama-cpp-vulkan-mali-g715", "phone-tensor-g3", "phone-tensor-g3", "float32"),
        ("llama-cpp-metal", "lora-llama-cpp-metal", "apple-m3pro-18gb", "apple-m3pro-18gb", "float32"),
    ],
)
def test_other_stacks_are_what_was_achieved_over_what_matrix_products_reach(
    stack: str, file: str, observed: str, device: str, dtype: str
) -> None:
    [row] = observations(file, observed)
    profile = Catalogue().device(device)
    attainable_flops_per_s = profile.peak_flops_per_s[dtype] * profile.achieved_frac
    assert training_stack(stack).frac.value == pytest.approx(
        row["achieved_tflops"] * 1e12 / attainable_flops_per_s, rel=0.04
    )


def test_a_phones_processor_reaches_the_median_of_three_models() -> None:
    rows = observations("lora-mobilefinetuner-c", "phone modern SoC CPU")
    stack = training_stack("mobilefinetuner-cpu")
    assert stack.cpu_peak_fp32_tflops is not None
    assert {row["peak_used"] for row in rows} == {"0.31e12"}
    shares = sorted(row["achieved_tflops"] / stack.cpu_peak_fp32_tflops.value for row in rows)
    assert len(shares) == 3
    assert stack.frac.value == pytest.approx(shares[1], rel=0.02)


def test_a_stack_lowers_what_an_accelerator_attains_and_leaves_its_peak() -> None:
    a100 = Catalogue().device("nvidia-a100-80gb-sxm")
    slower = under_stack(a100, "pytorch-lora")
    assert slower.achieved_frac == pytest.approx(0.72 * 0.5)
    assert slower.peak_flops_per_s == a100.peak_flops_per_s
    assert slower.provenance["achieved_frac"].note == "training stack pytorch-lora"
    assert a100.provenance["achieved_frac"].note == "Vidur transformer GEMM fit"


@pytest.mark.parametrize(
    ("device", "peak_flops_per_s"), [("phone-sd8elite", 0.31e12), ("rpi5-8gb", 153.6e9)]
)  # the first does not state its processor's peak
def test_a_stack_for_processors_leaves_the_accelerator_alone(device: str, peak_flops_per_s: float) -> None:
    profile = under_stack(Catalogue().device(device), "mobilefinetuner-cpu")
    assert profile.peak_flops_per_s == {"float32": pytest.approx(peak_flops_per_s)}
    assert profile.achieved_frac == 0.23


def test_an_unknown_stack_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(InputError, match=r"unknown training stack 'pytorch-laura'; allowed: .*did you mean 'pytorch-l"):
        training_stack("pytorch-laura")


def test_no_stack_reaches_more_than_matrix_products() -> None:
    assert all(0 < stack.frac.value < 1 and math.isfinite(stack.frac.value) for stack in training_stacks().values())
