"""Memory of both sides against sums derived by hand, and which cuts fit."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.problems import InputError
from simulator.costs.memory import RUNTIME_BYTES, MemoryModel, PartMemory, max_feasible_cut
from simulator.sections.machines import ServerSection
from tests.simulator.device_profiles import device
from tests.workloads.known_models import KNOWN_MODELS
from tests.workloads.small_models import CONFIGS
from workloads.ranks import CutRankSides, LoraSpec
from workloads.shapes import ModelShape, lora_targets

GPT2 = ModelShape.from_config(KNOWN_MODELS["gpt2"][0])


def model(
    shape: ModelShape = GPT2, *, batch_size: int = 4, length_tokens: int = 128, sides: CutRankSides = "both"
) -> MemoryModel:
    lora = LoraSpec(targets=lora_targets(shape, "attention"), rank=16, cut_rank=8, cut_rank_sides=sides)
    return MemoryModel(shape=shape, lora=lora, dtype="float32", batch_size=batch_size, length_tokens=length_tokens)


def test_a_client_of_gpt2_holds_what_is_derived_by_hand() -> None:
    tokens = 4 * 128
    # A block of GPT-2 keeps 70,848 bytes a token (see test_counts) at rank 16; cut 2 has ranks 16 and 8, which is
    # 2 · 4 · 8 bytes less, and its first norm keeps nothing (4 · 770 less).
    kept = 2 * 70_848 - 64 - 3_080
    assert model().client(2) == PartMemory(
        # Embeddings 50,257 and 1,024 rows of 768; a block 12 · 768² + 13 · 768.
        weights_bytes=4 * ((50_257 + 1_024) * 768 + 2 * (12 * 768**2 + 13 * 768)),
        # 4,608 values for each rank; weight, gradient, two moments.
        adapters_bytes=16 * 4_608 * (16 + 8),
        activations_bytes=tokens * kept,
        logits_bytes=0,
        # Four temporaries as wide as the MLP (3,072), tensor and gradient at the cut.
        workspace_bytes=4 * tokens * (4 * 3_072 + 2 * 768),
        runtime_bytes=RUNTIME_BYTES,
    )


def test_a_server_shares_weights_and_keeps_adapters_for_every_client() -> None:
    memory = model()
    alone, three = memory.server([2], steps_at_once=1), memory.server([2, 2, 5], steps_at_once=1)
    # Weights and moments of the third copy's blocks 6..12: ranks 8 and 6 times 16; of a second: 8 and 9 times 16.
    assert three.adapters_bytes - alone.adapters_bytes == 12 * 4_608 * ((8 + 9 * 16) + (8 + 6 * 16))
    assert replace(three, adapters_bytes=0) == replace(alone, adapters_bytes=0)
    assert alone.adapters_bytes == 16 * 4_608 * (8 + 9 * 16)
    assert alone.logits_bytes == 3 * 4 * 4 * 128 * 50_257


def test_frozen_rows_take_memory_but_no_gradient_and_no_moments() -> None:
    excluded, memory = model(), model()
    frozen = replace(memory, lora=replace(memory.lora, dormant="frozen"))
    # Cut 2: 8 rows of block 2 rest, 4,608 values each; A x of all four bytes a value and token is kept for 2 linears.
    more = frozen.client(2).adapters_bytes - excluded.client(2).adapters_bytes
    assert more == 4 * 4_608 * 8
    assert frozen.client(2).activations_bytes - excluded.client(2).activations_bytes == 4 * 128 * 4 * 8 * 2
    # On the server 8 rows of block 3 for each client, in each of which they are weights alone.
    more = (
        frozen.server([2, 2], steps_at_once=1).adapters_bytes - excluded.server([2, 2], steps_at_once=1).adapters_bytes
    )
    assert more == 2 * 4 * 4_608 * 8


def test_where_b_alone_is_trained_a_has_no_gradient_and_no_moments() -> None:
    memory = model()
    of_b = replace(memory, lora=replace(memory.lora, trains_a=False))
    # Of the 4,608 values of a row 2 · 768 are A's.
    assert memory.client(2).adapters_bytes - of_b.client(2).adapters_bytes == 3 * 4 * 2 * 768 * (16 + 8)


def test_every_step_under_way_on_an_accelerator_has_its_own_activations_and_logits() -> None:
    memory = model()
    one, two = (memory.server([2, 3], steps_at_once=num) for num in (1, 2))
    alone = memory.server([2], steps_at_once=1)
    assert two.activations_bytes == 2 * one.activations_bytes == 2 * alone.activations_bytes
    assert two.logits_bytes == 2 * one.logits_bytes
    assert two.adapters_bytes - one.adapters_bytes == 4 * 4_608 * (8 + 9 * 16)  # one more gradient
    assert two.weights_bytes == one.weights_bytes


def test_an_accelerator_works_on_one_step_unless_it_is_shared() -> None:
    assert ServerSection(slots=4).steps_at_once(10) == 1
    assert ServerSection(slots=4, discipline="processor-sharing").steps_at_once(10) == 3  # of 10 on 4, the most on one


def test_without_a_split_the_client_holds_the_head_and_its_logits() -> None:
    memory = model().client(12)
    assert memory.weights_bytes == 4 * 124_439_808
    assert memory.logits_bytes == 3 * 4 * 4 * 128 * 50_257


def test_the_total_is_the_sum_of_its_terms() -> None:
    memory = model().server([4], steps_at_once=1)
    assert memory.total_bytes == (
        memory.weights_bytes
        + memory.adapters_bytes
        + memory.activations_bytes
        + memory.logits_bytes
        + memory.workspace_bytes
        + memory.runtime_bytes
    )


@pytest.mark.parametrize("cut", [1, 6, 11])
def test_the_deepest_cut_that_fits_is_found_to_the_byte(cut: int) -> None:
    memory = model()
    needed = memory.client(cut).total_bytes
    assert max_feasible_cut(device(memory_usable_bytes=needed), memory) == cut
    assert max_feasible_cut(device(memory_usable_bytes=needed - 1), memory) == cut - 1  # for cut 1: not even a block


def test_a_cut_beyond_the_allowed_one_is_not_considered() -> None:
    endless = device(memory_usable_bytes=10**15)
    assert max_feasible_cut(endless, model()) == 11  # the server keeps a block
    assert max_feasible_cut(endless, model(), max_cut=4) == 4
    assert max_feasible_cut(endless, model(), max_cut=12) == 12


@pytest.mark.parametrize("usable", [None, 0, -1])
def test_unknown_memory_is_an_error(usable: int | None) -> None:
    with pytest.raises(InputError, match=f"device 'box': memory_usable_bytes is {usable}"):
        max_feasible_cut(device(memory_usable_bytes=usable), model())


def test_the_table_has_a_row_for_each_cut() -> None:
    memory = model()
    rows = memory.table(num_clients=3, steps_at_once=2)
    assert [row.cut for row in rows] == list(range(1, 12))
    assert rows[4].client == memory.client(5)
    assert rows[4].server == memory.server([5, 5, 5], steps_at_once=2)


@given(
    shape=st.sampled_from([ModelShape.from_config(config) for config in CONFIGS.values()]),
    batch_size=st.integers(1, 8),
    length_tokens=st.integers(1, 64),
    sides=st.sampled_from(["both", "client", "server", "none"]),
)
def test_a_deeper_cut_never_takes_less_on_the_client_nor_more_on_the_server(
    shape: ModelShape, batch_size: int, length_tokens: int, sides: CutRankSides
) -> None:
    memory = model(shape, batch_size=batch_size, length_tokens=length_tokens, sides=sides)
    clients = [memory.client(cut).total_bytes for cut in range(1, shape.num_blocks + 1)]
    servers = [memory.server([cut], steps_at_once=1).total_bytes for cut in range(1, shape.num_blocks)]
    assert clients == sorted(clients)
    assert servers == sorted(servers, reverse=True)
