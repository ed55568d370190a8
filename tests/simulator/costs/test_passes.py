"""Measured times of blocks in place of the formula, and what they leave to it."""

from dataclasses import replace

import numpy as np
import pytest

import splitft
from devices.measured_blocks import MeasuredBlock
from devices.problems import InputError
from devices.profiles import DeviceProfile
from simulator.costs.cost import ProfiledCosts
from simulator.costs.passes import check_measured, measured_block
from simulator.costs.seconds import compute_s, memory_s
from simulator.setting import resolve
from tests.simulator.costs.test_cost import BATCH, CODING_BYTES, LENGTH, LORA, SHAPE, TOKENS
from tests.simulator.device_profiles import LENGTHS, device
from workloads.codec_bytes import FP32
from workloads.counts import FLASH_ATTENTION, PLAIN_ATTENTION, AttentionKernel

# The model of test_cost: d 4, 128 weights in a block, 3 blocks; 10 tokens: half way between two measurements.
TABLE = MeasuredBlock(
    hidden_size=4,
    num_linear_weights=128,
    dtype="float32",
    num_tokens=(5, 15),
    forward_s=(1.0, 3.0),
    backward_s=(4.0, 6.0),
)
FORWARD_S, BACKWARD_S = 2.0, 5.0
MEASURED = device(measured_blocks=(TABLE,))


def costs(
    client: DeviceProfile = MEASURED,
    server: DeviceProfile = MEASURED,
    *,
    checkpointing: bool = False,
    kernel: AttentionKernel = PLAIN_ATTENTION,
) -> ProfiledCosts:
    return ProfiledCosts(
        shape=SHAPE,
        lora=LORA,
        dtype="float32",
        activation_codec=FP32,
        gradient_codec=FP32,
        device_table=(client,),
        device_index=np.array([0]),
        server=server,
        kernel=kernel,
        checkpointing=checkpointing,
    )


def test_blocks_take_what_was_measured_and_nothing_else_is_added_for_them() -> None:
    step, coding_s = costs().step(0, 2, BATCH, LENGTH), memory_s(CODING_BYTES, MEASURED)
    assert step.client_forward_s == pytest.approx(2 * FORWARD_S + coding_s, rel=1e-12)
    assert step.client_backward_s == pytest.approx(2 * BACKWARD_S + coding_s, rel=1e-12)
    assert step.client_optimizer_s == costs(device()).step(0, 2, BATCH, LENGTH).client_optimizer_s


def test_the_head_follows_the_formula_in_both_directions() -> None:
    step, server = costs().step(0, 2, BATCH, LENGTH), MEASURED
    head_s = compute_s(2 * 2 * TOKENS * 4 * 10, num_tokens=TOKENS, device=server, dtype="float32")
    optimizer_bytes = 28 * 24 * 1  # rank 1 in the server's only block, 24 values a row
    moving_s = memory_s(2 * CODING_BYTES + optimizer_bytes, server)
    assert step.server_step_s == pytest.approx(FORWARD_S + BACKWARD_S + head_s + moving_s, rel=1e-12)
    validation = costs().validation(0, 2, BATCH, LENGTH)
    expected = FORWARD_S + head_s / 2 + memory_s(CODING_BYTES, server)
    assert validation.server_forward_s == pytest.approx(expected, rel=1e-12)


def test_checkpointing_measures_the_forward_pass_twice() -> None:
    once, twice = (costs(checkpointing=is_on).step(0, 2, BATCH, LENGTH) for is_on in (False, True))
    assert twice.client_backward_s - once.client_backward_s == pytest.approx(2 * FORWARD_S, rel=1e-12)
    assert twice.server_step_s - once.server_step_s == pytest.approx(FORWARD_S, rel=1e-12)


@pytest.mark.parametrize(
    "other",
    [{"hidden_size": 8}, {"num_linear_weights": 127}, {"dtype": "float16"}],
    ids=lambda change: next(iter(change)),
)
def test_a_table_of_other_blocks_is_not_used(other: dict[str, int | str]) -> None:
    elsewhere = device(measured_blocks=(replace(TABLE, **other),))  # type: ignore[arg-type]
    assert measured_block(elsewhere, SHAPE, "float32") is None
    assert costs(elsewhere).step(0, 1, BATCH, LENGTH) == costs(device()).step(0, 1, BATCH, LENGTH)
    assert measured_block(device(measured_blocks=(replace(TABLE, hidden_size=8), TABLE)), SHAPE, "float32") == TABLE


def test_flash_attention_halves_products_and_recomputes_one() -> None:
    # Of one block, 2 samples of 5 tokens: whole 800 forwards and 1,600 backwards; flash half of 800, and 2.5 of that.
    whole, flash = (
        costs(device(), device(), kernel=k).step(0, 1, BATCH, LENGTH) for k in (PLAIN_ATTENTION, FLASH_ATTENTION)
    )

    def saved(flops: int) -> float:
        return compute_s(flops, num_tokens=TOKENS, device=device(), dtype="float32")

    assert whole.client_forward_s - flash.client_forward_s == pytest.approx(saved(800 - 400), rel=1e-6)
    assert whole.client_backward_s - flash.client_backward_s == pytest.approx(saved(1600 - 1000), rel=1e-6)


def test_a_table_that_ends_below_the_largest_batch_is_refused_and_one_that_does_not_is_told_of() -> None:
    assert check_measured([device()], SHAPE, "float32", 10**9) == []
    [note] = check_measured([MEASURED, MEASURED], SHAPE, "float32", 15)
    assert note == (
        "device 'box': times of blocks are measured, not modelled, from 5 to 15 tokens; "
        "smaller batches take as long as 5"
    )
    with pytest.raises(InputError, match=r"device 'box': its measured_blocks end at 15 tokens, and .* up to 16;"):
        check_measured([MEASURED], SHAPE, "float32", 16)


def test_a_table_of_other_blocks_is_told_of_with_what_it_is_for_and_what_is_charged_for() -> None:
    elsewhere = device(measured_blocks=(replace(TABLE, hidden_size=99), replace(TABLE, dtype="float16")))
    [note] = check_measured([elsewhere, elsewhere], SHAPE, "float32", 10**9)
    sizes = f"linear_weights {TABLE.num_linear_weights}, float"
    assert note == (
        "device 'box': its measured_blocks are not used, times of blocks follow the formula: they are for "
        f"hidden_size 99, {sizes}32; hidden_size {TABLE.hidden_size}, {sizes}16, and the blocks charged for have "
        f"hidden_size {TABLE.hidden_size}, {sizes}32"
    )


def test_a_run_uses_the_table_of_a_users_device(tmp_path) -> None:  # type: ignore[no-untyped-def]
    shape = resolve(splitft.Scenario.load("quickstart")).shape
    text = (
        "type: device\ntier: sbc\naccelerator: cpu\npeak_fp32_tflops: 0.15\nmemory_gib: 8\n"
        "memory_bandwidth_gbyte_per_s: 17\nmeasured_blocks:\n"
        f"  - {{hidden_size: {shape.hidden_size}, linear_weights: {shape.block.num_linear_weights}, dtype: float32, "
        "num_tokens: [1, LAST], forward_ms: [1000, 1000], backward_ms: [2000, 2000], kind: measured}\n"
    )
    (tmp_path / "timed.yaml").write_text(text.replace("LAST", "512"))
    sets = ["execution.trainer=cost-only", "rounds=1", "policy={kind: fixed, cut: 3}", LENGTHS]
    sets.append("fleet.clients=[{device: timed, network: lan-1gbe}]")
    spans = splitft.run(splitft.Scenario.load("quickstart", sets), catalogue=[tmp_path]).spans
    forward = spans[spans.kind == "client_forward"]
    assert (forward.end_s - forward.start_s).tolist() == pytest.approx([3.0] * 4, rel=1e-3)  # and codecs
    (tmp_path / "timed.yaml").write_text(text.replace("LAST", "511"))  # 4 samples of 128 tokens are 512
    with pytest.raises(InputError, match=r"workload\.max_length_tokens: .* end at 511 tokens, and .* up to 512;"):
        splitft.run(splitft.Scenario.load("quickstart", sets), catalogue=[tmp_path])
