"""Measured times of blocks: what a device file may say of them, and what lies between two measurements."""

import pytest

from devices.device_file import device_profile
from devices.measured_blocks import MeasuredBlock
from devices.problems import InputError
from devices.profiles import DeviceProfile
from devices.strict_yaml import parse_document

DEVICE = """\
tier: jetson
accelerator: gpu
peak_fp32_tflops: 1.28
memory_gib: 8
memory_bandwidth_gbyte_per_s: 68
"""
TABLE = """\
measured_blocks:
  - hidden_size: 64
    linear_weights: 49152
    dtype: float32
    num_tokens: [10, 20, 40]
    forward_ms: [1, 2, 8]
    backward_ms: [3, 4, 16]
    kind: measured
    note: my bench
"""
BLOCK = MeasuredBlock(
    hidden_size=64,
    num_linear_weights=49152,
    dtype="float32",
    num_tokens=(10, 20, 40),
    forward_s=(0.001, 0.002, 0.008),
    backward_s=(0.003, 0.004, 0.016),
)


def profile(text: str) -> DeviceProfile:
    return device_profile(parse_document(text, "board.yaml"), "board")


def test_a_file_states_times_in_milliseconds_with_their_origin() -> None:
    board = profile(DEVICE + TABLE)
    assert board.measured_blocks == (BLOCK,)
    assert (board.provenance["measured_blocks.0"].kind, board.provenance["measured_blocks.0"].note) == (
        "measured",
        "my bench",
    )
    assert profile(DEVICE).measured_blocks == ()
    assert str(BLOCK) == "hidden_size 64, linear_weights 49152, float32: 10 to 40 tokens"


@pytest.mark.parametrize(
    ("num_tokens", "forward_s", "backward_s"),
    [
        (20, 0.002, 0.004),  # as measured
        (15, 0.0015, 0.0035),  # half way from 10 to 20
        (25, 0.0035, 0.007),  # a quarter of the way from 20 to 40
        (40, 0.008, 0.016),
        (1, 0.001, 0.003),  # never less than the fewest
    ],
)
def test_times_are_linear_between_measurements_and_never_below_the_smallest(
    num_tokens: int, forward_s: float, backward_s: float
) -> None:
    assert BLOCK.forward(num_tokens) == pytest.approx(forward_s, rel=1e-12)
    assert BLOCK.backward(num_tokens) == pytest.approx(backward_s, rel=1e-12)


def test_more_tokens_than_were_measured_have_no_time() -> None:
    with pytest.raises(ValueError, match="41 tokens were not measured; at most 40 were"):
        BLOCK.forward(41)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("[10, 20, 40]", "[10, 40, 20]", "board.yaml:10: measured_blocks.0.num_tokens: must rise from one"),
        ("[1, 2, 8]", "[1, 2]", "board.yaml:11: measured_blocks.0.forward_ms: expected 3 times, one for each of"),
        ("[3, 4, 16]", "[3, 0, 16]", "measured_blocks.0.backward_ms.1: expected a number of at least 1e-09, got 0"),
        ("[10, 20, 40]", "[10]", "measured_blocks.0.num_tokens: expected a list of 2 or more"),
        ("dtype: float32", "dtype: float64", "measured_blocks.0.dtype: expected 'float32', 'float16' or 'bfloat16'"),
        ("note: my bench", "tokens: 3", "measured_blocks.0.tokens: unknown key"),
        ("linear_weights: 49152", "linear_weights: 1.5", "measured_blocks.0.linear_weights: expected a whole number"),
    ],
)
def test_a_mistake_in_a_table_is_named_with_its_line_and_key(before: str, after: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        profile(DEVICE + TABLE.replace(before, after))
    assert message in str(caught.value)


def test_two_tables_of_one_block_are_refused() -> None:
    with pytest.raises(InputError, match=r"measured_blocks\.1: the same hidden_size, .* as in measured_blocks\.0"):
        profile(DEVICE + TABLE + TABLE.split("\n", 1)[1])
