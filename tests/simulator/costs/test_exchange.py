"""What each rule of aggregation makes clients and server exchange and compute, from a model small enough for hands."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.costs.cost import ProfiledCosts
from simulator.costs.exchange import RoundCosts
from simulator.costs.seconds import compute_s, memory_s
from tests.simulator.device_profiles import device
from workloads.aggregators import AGGREGATORS, LEAVE_DELTA, TRAIN_B_ALONE
from workloads.codec_bytes import FP32
from workloads.ranks import Dormant, LoraSpec
from workloads.shapes import ModelShape, lora_targets

# d 4, 3 blocks. Adapters on attention: c_attn 4 -> 12, c_proj 4 -> 4. A row has 4 + 12 and 4 + 4 values, 24 in all, of
# which 16 of B; the weights are 48 + 16 = 64. Cut after block 1: ranks 1, 1, 2; after block 2: ranks 2, 1, 1.
SHAPE = ModelShape.from_config(
    {"model_type": "gpt2", "n_embd": 4, "n_head": 2, "n_inner": 8, "vocab_size": 10, "n_layer": 3, "n_positions": 16}
)
ROW_BYTES, B_ROW_BYTES, NUM_WEIGHTS = 4 * 24, 4 * 16, 64
CLIENT = device(id="client", memory_bandwidth_bytes_per_s=1e9)
SERVER = device(id="server", memory_bandwidth_bytes_per_s=2e12)


def costs(aggregator: str, dormant: Dormant = "excluded") -> ProfiledCosts:
    lora = LoraSpec(
        targets=lora_targets(SHAPE, "attention"),
        rank=2,
        cut_rank=1,
        cut_rank_sides="both",
        dormant=dormant,
        trains_a=aggregator not in TRAIN_B_ALONE,
    )
    return ProfiledCosts(
        shape=SHAPE,
        lora=lora,
        dtype="float32",
        activation_codec=FP32,
        gradient_codec=FP32,
        device_table=(CLIENT,),
        device_index=np.array([0]),
        server=SERVER,
        aggregator=aggregator,
    )


@pytest.mark.parametrize("aggregator", ["segment", "fedavg", "hetlora", "hetlora-per-block", "flexlora"])
def test_averaged_adapters_travel_at_the_ranks_of_the_clients_blocks(aggregator: str) -> None:
    exchanged = RoundCosts(adapter_download_bytes=3 * ROW_BYTES, adapter_upload_bytes=3 * ROW_BYTES)
    assert costs(aggregator).round(0, 2) == exchanged
    assert costs(aggregator).stacked_ranks([1, 2]) == ()


def test_frozen_rows_are_sent_down_and_not_up() -> None:
    exchanged = costs("segment", "frozen").round(0, 2)
    assert exchanged.adapter_download_bytes == (2 + 2) * ROW_BYTES
    assert exchanged.adapter_upload_bytes == (2 + 1) * ROW_BYTES


def test_of_a_frozen_a_nothing_is_sent() -> None:
    exchanged = RoundCosts(adapter_download_bytes=3 * B_ROW_BYTES, adapter_upload_bytes=3 * B_ROW_BYTES)
    assert costs("ffa").round(0, 2) == exchanged


@pytest.mark.parametrize("aggregator", sorted(LEAVE_DELTA))
def test_all_clients_factors_of_its_own_blocks_come_down_and_are_merged(aggregator: str) -> None:
    priced = costs(aggregator)
    stacked = priced.stacked_ranks([1, 2, 2])
    assert stacked == (1 + 2 + 2, 1 + 1 + 1, 2 + 1 + 1)
    exchanged = priced.round(0, 2, stacked)
    assert exchanged.adapter_download_bytes == (3 + 5 + 3) * ROW_BYTES  # its own rows of blocks 1 and 2, and the stack
    assert exchanged.adapter_upload_bytes == 3 * ROW_BYTES
    # 2 m FLOPs for each of 64 weights of a block, which are written back once: 2 blocks · 64 · 4 bytes.
    expected = memory_s(2 * 64 * 4, CLIENT)
    expected += sum(compute_s(2 * m * 64, num_tokens=m, device=CLIENT, dtype="float32") for m in (5, 3))
    assert exchanged.client_merge_s == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("aggregator", sorted(LEAVE_DELTA))
def test_before_the_first_aggregation_and_after_one_of_nobody_there_is_nothing_to_merge(aggregator: str) -> None:
    plain = RoundCosts(adapter_download_bytes=3 * ROW_BYTES, adapter_upload_bytes=3 * ROW_BYTES)
    assert costs(aggregator).round(0, 2, costs(aggregator).stacked_ranks([])) == plain


# Either cut has ranks that add up to 4; the adapter that is written has rank 2 in 3 blocks.
READ, WRITTEN = 4 * ROW_BYTES, 6 * ROW_BYTES


def test_an_average_reads_every_adapter_and_writes_one() -> None:
    for aggregator in ("segment", "fedavg"):
        expected = memory_s(2 * READ + WRITTEN, SERVER)
        assert costs(aggregator).aggregate_s([(0, 1), (0, 2)]) == pytest.approx(expected, rel=1e-12)


def test_norms_take_another_pass() -> None:
    for aggregator in ("hetlora", "hetlora-per-block"):
        expected = memory_s(2 * 2 * READ + WRITTEN, SERVER)
        assert costs(aggregator).aggregate_s([(0, 1), (0, 2)]) == pytest.approx(expected, rel=1e-12)


def test_averaging_b_alone_touches_b_alone() -> None:
    expected = memory_s((2 * 4 + 6) * B_ROW_BYTES, SERVER)
    assert costs("ffa").aggregate_s([(0, 1), (0, 2)]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("aggregator", sorted(LEAVE_DELTA))
def test_the_server_merges_all_blocks(aggregator: str) -> None:
    expected = memory_s(2 * READ + WRITTEN, SERVER) + memory_s(3 * NUM_WEIGHTS * 4, SERVER)
    expected += sum(compute_s(2 * m * 64, num_tokens=m, device=SERVER, dtype="float32") for m in (3, 2, 3))
    assert costs(aggregator).aggregate_s([(0, 1), (0, 2)]) == pytest.approx(expected, rel=1e-12)


def test_a_truncated_svd_is_charged_as_arithmetic() -> None:
    # One client, cut 2: m = 2, 1, 1 rows. QR of 12 x m and 4 x m and of 4 x m twice, 4 d m k each with k = m; the core
    # 2 m³ and its SVD 21 m³; B and A of rank 2: 2 · 2 · (d_out + d_in) m.
    def flops(m: int) -> int:
        return sum(4 * m * m * (out + 4) + 23 * m**3 + 4 * (out + 4) * m for out in (12, 4))

    expected = memory_s(READ + WRITTEN, SERVER)
    expected += sum(compute_s(flops(m), num_tokens=m, device=SERVER, dtype="float32") for m in (2, 1, 1))
    assert costs("flexlora").aggregate_s([(0, 2)]) == pytest.approx(expected, rel=1e-12)


@given(st.sampled_from(AGGREGATORS), st.lists(st.integers(1, 2), min_size=1, max_size=6), st.integers(1, 2))
def test_one_more_client_never_takes_less(aggregator: str, cuts: list[int], cut: int) -> None:
    priced = costs(aggregator)
    fewer, more = ([(0, c) for c in some] for some in (cuts, [*cuts, cut]))
    assert priced.aggregate_s(more) > priced.aggregate_s(fewer)
    before, after = (priced.round(0, 2, priced.stacked_ranks(some)) for some in (cuts, [*cuts, cut]))
    assert after.adapter_download_bytes >= before.adapter_download_bytes
    assert after.adapter_upload_bytes == before.adapter_upload_bytes


def test_blocks_that_miss_nothing_cost_nothing_to_merge() -> None:
    # Cut after block 2, of which only the second misses 3 rows: 64 weights are written, 2 · 3 · 64 FLOPs are computed.
    found = costs("flora").round(0, 2, (0, 3, 9))
    alone = costs("flora").round(0, 2)
    assert found.adapter_download_bytes - alone.adapter_download_bytes == 3 * ROW_BYTES
    expected_s = memory_s(NUM_WEIGHTS * 4, CLIENT) + compute_s(
        2 * 3 * NUM_WEIGHTS, num_tokens=3, device=CLIENT, dtype="float32"
    )
    assert found.client_merge_s == pytest.approx(expected_s, rel=1e-12)
