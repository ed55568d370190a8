"""Costs of every phase, from FLOPs and bytes derived by hand for a model small enough."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.problems import InputError
from devices.profiles import DeviceProfile
from simulator.costs.cost import Costs, ProfiledCosts
from simulator.costs.exchange import RoundCosts
from simulator.costs.seconds import compute_s, memory_s
from tests.simulator.device_profiles import device
from workloads.codec_bytes import FP32
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets

# d 4, MLP 8, 10 words, 3 blocks. Weights of a block: c_attn 4 · 12, c_proj 4 · 4, MLP 2 · 4 · 8: 128. Adapters on
# attention, per rank: (4 + 12) + (4 + 4) = 24 values. Cut after block 1: ranks 1, 1, 2; after block 2: ranks 2, 1, 1.
SHAPE = ModelShape.from_config(
    {"model_type": "gpt2", "n_embd": 4, "n_head": 2, "n_inner": 8, "vocab_size": 10, "n_layer": 3, "n_positions": 16}
)
LORA = LoraSpec(targets=lora_targets(SHAPE, "attention"), rank=2, cut_rank=1, cut_rank_sides="both")

# 2 samples of 5 tokens. Attention of a block, forward: 2 · 4 · 5 · 5 · 4 = 800.
BATCH, LENGTH, TOKENS = 2, 5, 10
CUT_BYTES = 4 * TOKENS * 4
CODING_BYTES = 2 * CUT_BYTES  # encoding reads a float32 tensor and writes as many bytes; so does decoding

PHONE = device(id="phone", block_overhead_forward_s=1e-9, block_overhead_backward_s=2e-9)
LAPTOP = device(
    id="laptop",
    peak_flops_per_s={"float32": 20e12},
    block_overhead_forward_s=1e-10,
    block_overhead_backward_s=1e-10,
)
SERVER = device(
    id="server",
    peak_flops_per_s={"float32": 90e12},
    memory_bandwidth_bytes_per_s=2e12,
    block_overhead_forward_s=3e-10,
    block_overhead_backward_s=5e-10,
)


def profiled(
    *,
    table: tuple[DeviceProfile, ...] = (PHONE, LAPTOP),
    index: list[int] | None = None,
    server: DeviceProfile = SERVER,
) -> ProfiledCosts:
    return ProfiledCosts(
        shape=SHAPE,
        lora=LORA,
        dtype="float32",
        activation_codec=FP32,
        gradient_codec=FP32,
        device_table=table,
        device_index=np.array([0, 1] if index is None else index),
        server=server,
    )


def seconds(flops: int, where: DeviceProfile, *, forward: int = 0, backward: int = 0) -> float:
    return compute_s(
        flops,
        num_tokens=TOKENS,
        device=where,
        dtype="float32",
        num_forward_blocks=forward,
        num_backward_blocks=backward,
    )


def test_a_step_charges_the_client_for_its_blocks() -> None:
    step = profiled().step(0, 1, BATCH, LENGTH)
    coding_s = memory_s(CODING_BYTES, PHONE)
    # Forward: 10 tokens · (2 · 128 + 2 · 1 · 24) + 800.
    assert step.client_forward_s == pytest.approx(seconds(3_840, PHONE, forward=1) + coding_s, rel=1e-12)
    # Backward, no gradient below c_attn's adapter: its A and B 2 · (4 + 2 · 12) = 56; c_proj 2 · 16 + 4 · 8 = 64; MLP
    # 2 · 64 = 128: 248 a token; attention 2 · 800.
    assert step.client_backward_s == pytest.approx(seconds(4_080, PHONE, backward=1) + coding_s, rel=1e-12)
    assert step.client_optimizer_s == pytest.approx(memory_s(28 * 24, PHONE), rel=1e-12)


def test_every_block_passed_adds_its_overhead() -> None:
    eager, lazy = device(), device(block_overhead_forward_s=1.25, block_overhead_backward_s=2.5)  # 1 s and 2 s more
    quick, slow = (
        profiled(table=(which,), index=[0], server=which).step(0, 2, BATCH, LENGTH) for which in (eager, lazy)
    )
    assert slow.client_forward_s - quick.client_forward_s == pytest.approx(2 * 1, rel=1e-9)
    assert slow.client_backward_s - quick.client_backward_s == pytest.approx(2 * 2, rel=1e-9)
    assert slow.server_step_s - quick.server_step_s == pytest.approx(1 * (1 + 2), rel=1e-9)


def test_a_step_charges_the_server_for_the_rest() -> None:
    step = profiled().step(0, 1, BATCH, LENGTH)
    # Forward: rank 1: 10 · (256 + 48) + 800 = 3,840; rank 2: 10 · (256 + 96) + 800 = 4,320; head 2 · 10 · 4 · 10 = 800.
    # Backward: rank 1: 10 · (256 + 96) + 1,600 = 5,120; rank 2: 10 · (256 + 192) + 1,600 = 6,080; head 800.
    # Memory: decoding and encoding, and an optimizer over (1 + 2) · 24 values.
    compute = seconds(8_960 + 12_000, SERVER, forward=2, backward=2)
    moving = memory_s(2 * CODING_BYTES + 28 * 72, SERVER)
    assert step.server_step_s == pytest.approx(compute + moving, rel=1e-12)


def test_messages_of_a_step_are_activations_labels_and_gradients() -> None:
    step = profiled().step(0, 2, BATCH, LENGTH)
    assert step.activation_bytes == step.gradient_bytes == CUT_BYTES == 160
    assert step.label_bytes == 4 * (TOKENS + BATCH)  # int32: labels B · T, lengths B


def test_validation_is_the_forward_half_of_a_step() -> None:
    costs = profiled()
    step, validation = costs.step(0, 1, BATCH, LENGTH), costs.validation(0, 1, BATCH, LENGTH)
    assert validation.client_forward_s == step.client_forward_s
    assert (validation.activation_bytes, validation.label_bytes) == (step.activation_bytes, step.label_bytes)
    expected = seconds(8_960, SERVER, forward=2) + memory_s(CODING_BYTES, SERVER)
    assert validation.server_forward_s == pytest.approx(expected, rel=1e-12)


def test_adapters_of_the_client_part_travel_at_their_ranks() -> None:
    costs = profiled()
    assert costs.round(0, 1) == RoundCosts(adapter_download_bytes=96, adapter_upload_bytes=96)  # rank 1: 24 float32
    assert costs.round(1, 2).adapter_upload_bytes == 4 * 24 * (2 + 1)


def test_aggregation_reads_every_adapter_and_writes_the_average() -> None:
    costs = profiled()
    # Either cut has ranks that add up to 4: 96 values a client; the average has rank 2 in 3 blocks: 144 values.
    for cuts, values in ([(0, 1)], 96 + 144), ([(0, 1), (1, 2)], 2 * 96 + 144), ([(0, 1)] * 5, 5 * 96 + 144):
        assert costs.aggregate_s(cuts) == pytest.approx(memory_s(4 * values, SERVER), rel=1e-12)
    assert costs.aggregate_s([]) == 0.0


def test_every_client_is_charged_on_its_own_device() -> None:
    phone, laptop = (profiled().step(client, 1, BATCH, LENGTH) for client in (0, 1))
    assert laptop.client_forward_s < phone.client_forward_s
    assert laptop.server_step_s == phone.server_step_s


def test_a_million_clients_share_the_costs_of_their_device() -> None:
    costs = profiled(index=[0, 1] * 500_000)
    assert costs.step(0, 1, BATCH, LENGTH) is costs.step(999_998, 1, BATCH, LENGTH)
    assert costs.step(1, 1, BATCH, LENGTH) is not costs.step(0, 1, BATCH, LENGTH)


def test_profiled_costs_are_what_protocols_ask_for() -> None:
    costs: Costs = profiled()
    assert costs.step(0, 1, BATCH, LENGTH).client_forward_s > 0


def test_a_hole_in_any_profile_is_an_error_before_the_run() -> None:
    with pytest.raises(InputError, match="device 'phone': achieved_frac is None"):
        profiled(table=(device(id="phone", achieved_frac=None), LAPTOP))
    with pytest.raises(InputError, match="device 'server': memory_bandwidth_bytes_per_s is 0"):
        profiled(server=device(id="server", memory_bandwidth_bytes_per_s=0))


@given(batch=st.integers(1, 8), length=st.integers(1, 16), client=st.integers(0, 1))
def test_a_deeper_cut_and_more_tokens_never_cost_a_client_less(batch: int, length: int, client: int) -> None:
    costs = profiled()
    shallow, deep = (costs.step(client, cut, batch, length) for cut in (1, 2))
    longer = costs.step(client, 1, batch, length + 1)
    for more in (deep, longer):
        assert more.client_forward_s > shallow.client_forward_s
        assert more.client_backward_s > shallow.client_backward_s
        assert more.client_optimizer_s >= shallow.client_optimizer_s
    assert deep.server_step_s < shallow.server_step_s < longer.server_step_s
