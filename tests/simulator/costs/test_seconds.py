import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.problems import InputError
from simulator.costs.seconds import check_terms, compute_s, memory_s, reached_frac, transfer_s
from tests.simulator.device_profiles import device


def test_compute_is_flops_over_the_rate_reached_plus_overheads() -> None:
    # 20 tokens a weight of 4 bytes: intensity 10 FLOP/byte, at 200 GB/s 2 TFLOP/s, a quarter of the peak. With e_max a
    # third: 1/eff² = 3² + 4² = 5². 1.6 TFLOP / (8 TFLOP/s / 5) = 1 s; 3 · 0.25 s + 2 · 0.5 s of overhead.
    seconds = compute_s(
        1.6e12, num_tokens=20, device=device(), dtype="float32", num_forward_blocks=3, num_backward_blocks=2
    )
    assert seconds == pytest.approx(1 + 0.75 + 1.0, rel=1e-12)


def test_half_the_bytes_a_weight_double_the_intensity() -> None:
    # float16: 40 tokens, intensity 40, at 200 GB/s 8 TFLOP/s, half of 16 TFLOP/s: 1/eff² = 3² + 2².
    assert reached_frac(40, device=device(), dtype="float16") == pytest.approx(1 / math.sqrt(13), rel=1e-12)


def test_many_tokens_reach_the_achieved_fraction_and_one_token_the_bandwidth() -> None:
    assert reached_frac(10**9, device=device(), dtype="float32") == pytest.approx(1 / 3, rel=1e-6)
    # One token takes 2 P FLOPs and reads 4 P bytes; here P = 1e9: 4 GB at 200 GB/s is 20 ms.
    single = compute_s(2e9, num_tokens=1, device=device(achieved_frac=1.0), dtype="float32")
    assert single == pytest.approx(0.020, rel=2e-3)


@pytest.mark.parametrize(("num_tokens", "measured"), [(16, 0.079), (64, 0.299), (128, 0.472), (256, 0.661)])
def test_published_fractions_of_an_a100_are_met(num_tokens: int, measured: float) -> None:
    # microsoft/vidur (MIT), matrix products of Llama-2-7B on an A100 80 GB in float16, as fractions of 312 TFLOP/s; the
    # fraction reached with 4,096 tokens is 0.714; 2,039 GB/s.
    a100 = device(peak_flops_per_s={"float16": 312e12}, achieved_frac=0.714, memory_bandwidth_bytes_per_s=2.039e12)
    assert reached_frac(num_tokens, device=a100, dtype="float16") == pytest.approx(measured, rel=0.07)


def test_moving_bytes_takes_the_bandwidth_reached() -> None:
    assert memory_s(1e9, device()) == pytest.approx(0.005, rel=1e-12)  # 1 GB at 0.8 · 250 GB/s


def test_a_message_takes_latency_plus_size_over_bandwidth() -> None:
    assert transfer_s(1000, bytes_per_s=500.0, latency_s=0.5) == 2.5
    assert transfer_s(0, bytes_per_s=500.0, latency_s=0.5) == 0.0


@pytest.mark.parametrize(("bytes_per_s", "latency_s"), [(0.0, 0.0), (math.nan, 0.0), (math.inf, 0.0), (1.0, -1.0)])
def test_a_link_without_a_rate_is_refused(bytes_per_s: float, latency_s: float) -> None:
    with pytest.raises(InputError, match="no transfer time"):
        transfer_s(1, bytes_per_s=bytes_per_s, latency_s=latency_s)


@pytest.mark.parametrize("bad", [None, 0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    "field",
    [
        "achieved_frac",
        "bandwidth_efficiency_frac",
        "memory_bandwidth_bytes_per_s",
        "block_overhead_forward_s",
        "block_overhead_backward_s",
    ],
)
def test_a_missing_number_is_an_error_that_names_field_and_device(field: str, bad: float | None) -> None:
    broken = device(**{field: bad})
    with pytest.raises(InputError, match=f"device 'box': {field} is {bad}; every cost term needs a finite number"):
        compute_s(1.0, num_tokens=1, device=broken, dtype="float32")
    with pytest.raises(InputError, match=field):
        check_terms([broken], "float32")


def test_a_dtype_that_a_device_lacks_is_an_error() -> None:
    with pytest.raises(InputError, match="device 'box' has no peak_flops_per_s for bfloat16; it has float32, float16"):
        compute_s(1.0, num_tokens=1, device=device(), dtype="bfloat16")
    with pytest.raises(InputError, match=r"peak_flops_per_s\.float32 is 0"):
        compute_s(1.0, num_tokens=1, device=device(peak_flops_per_s={"float32": 0}), dtype="float32")


def test_everything_that_is_missing_is_told_at_once_and_once() -> None:
    broken = device(id="hollow", achieved_frac=None, memory_bandwidth_bytes_per_s=0.0)
    with pytest.raises(InputError) as caught:
        check_terms([device(), broken, broken], "bfloat16")
    assert [str(problem) for problem in caught.value.problems] == [
        "device 'box' has no peak_flops_per_s for bfloat16; it has float32, float16",
        "device 'hollow' has no peak_flops_per_s for bfloat16; it has float32, float16",
        "device 'hollow': achieved_frac is None; every cost term needs a finite number above 0",
        "device 'hollow': memory_bandwidth_bytes_per_s is 0.0; every cost term needs a finite number above 0",
    ]


FACTORS = st.floats(1.0, 100.0)
FIELDS = ["achieved_frac", "bandwidth_efficiency_frac", "memory_bandwidth_bytes_per_s", "peak_flops_per_s"]


@given(field=st.sampled_from(FIELDS), factor=FACTORS, num_tokens=st.integers(1, 10**6))
def test_a_faster_device_is_never_slower(field: str, factor: float, num_tokens: int) -> None:
    slow = device()
    value: Any = getattr(slow, field)
    better = {dtype: peak * factor for dtype, peak in value.items()} if isinstance(value, dict) else value * factor
    fast = device(**{field: better})

    def seconds(which: Any) -> float:
        return compute_s(1e12, num_tokens=num_tokens, device=which, dtype="float32", num_forward_blocks=1)

    assert seconds(fast) <= seconds(slow) * (1 + 1e-12)
    assert memory_s(1e9, fast) <= memory_s(1e9, slow)


@given(num_tokens=st.integers(1, 10**6), more=st.integers(1, 1000), weights=st.integers(1, 10**9))
def test_more_tokens_through_the_same_weights_are_never_faster(num_tokens: int, more: int, weights: int) -> None:
    def seconds(tokens: int) -> float:
        return compute_s(2 * weights * tokens, num_tokens=tokens, device=device(), dtype="float32")

    assert seconds(num_tokens + more) >= seconds(num_tokens)
