"""Adapters: how they start, how ranks differ by block."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.reference import (
    ALPHA,
    BLOCKS,
    PEFT_WARNING,
    RANK,
    random_batch,
    random_model,
    targets_of,
    whole_loss,
)
from tests.workloads.small_models import CONFIGS, single_thread
from workloads.lora import LoraModel, TargetError, block_of, rows, with_rows

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

A_KEY = "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"
B_KEY = "base_model.model.model.layers.2.self_attn.q_proj.lora_B.weight"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def lora_model(family: str = "llama", targets: tuple[str, ...] | None = None) -> tuple[Any, LoraModel]:
    model = random_model(family)
    lora = LoraModel(model, targets=targets or targets_of(family), rank=RANK, alpha=ALPHA, dropout=0.0)
    return model, lora


def trained_adapter(lora: LoraModel) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    return {key: 0.1 * torch.randn(shape, generator=draws) for key, shape in lora.shapes.items()}


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        computed: torch.Tensor = model(input_ids=torch.from_numpy(random_batch(seed=0).ids), use_cache=False).logits
    return computed


def test_a_new_adapter_changes_nothing() -> None:
    model, lora = lora_model()
    lora.put(lora.initial(seed=0))
    assert torch.equal(logits(model), logits(random_model("llama")))


def test_a_new_a_is_uniform_within_one_over_the_root_of_its_inputs() -> None:
    _, lora = lora_model()
    new = lora.initial(seed=0)
    # Kaiming uniform with a = sqrt 5: bound = sqrt(6 / ((1 + 5)·d_in)) = 1/sqrt(d_in), here d_in = 32
    values = torch.cat([value.flatten() for key, value in new.items() if "lora_A" in key])
    assert values.abs().max() <= 32**-0.5
    # A uniform variable on ±b has the standard deviation b/sqrt 3; 1,536 draws give it to a few per cent.
    assert values.std().item() == pytest.approx(32**-0.5 / 3**0.5, rel=0.05)
    assert all(not value.any() for key, value in new.items() if "lora_B" in key)


def test_a_new_adapter_depends_on_the_seed_alone() -> None:
    _, lora = lora_model()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = lora.initial(seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = lora.initial(seed=7), lora.initial(seed=8)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first[A_KEY], other[A_KEY])


def test_each_layer_starts_the_same_whichever_others_are_adapted() -> None:
    _, both = lora_model(targets=("q_proj", "v_proj"))
    _, one = lora_model(targets=("q_proj",))
    assert torch.equal(both.initial(seed=3)[A_KEY], one.initial(seed=3)[A_KEY])


def test_layers_start_differently() -> None:
    _, lora = lora_model()
    new = lora.initial(seed=0)
    assert not torch.equal(new[A_KEY], new[A_KEY.replace("layers.2", "layers.1")])


@pytest.mark.parametrize("family", CONFIGS)
def test_a_smaller_rank_uses_the_first_rows_at_the_same_scale(family: str) -> None:
    model, lora = lora_model(family)
    adapter = trained_adapter(lora)
    ranks = (4, 2, 1, 4)
    lora.put(adapter, ranks)
    small = logits(model)
    # The same rows with zeros above them are the full-rank adapter that computes the same product B A.
    zeroed = {
        key: with_rows(torch.zeros_like(value), key, rows(value, key, ranks[block_of(key)]))
        for key, value in adapter.items()
    }
    lora.put(zeroed)
    assert torch.allclose(small, logits(model), rtol=0, atol=1e-5)
    lora.put(adapter)
    assert not torch.allclose(small, logits(model), rtol=0, atol=1e-4)


def test_the_scale_is_alpha_over_the_full_rank() -> None:
    model, lora = lora_model(targets=("q_proj",))
    adapter = trained_adapter(lora)
    lora.put(adapter, (2,) * BLOCKS)
    layer = model.model.layers[2].self_attn.q_proj
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    added = layer(x) - layer.base_layer(x)
    expected = ALPHA / RANK * x @ adapter[A_KEY][:2].T @ adapter[B_KEY][:, :2].T
    assert torch.allclose(added, expected, atol=1e-5)


def test_training_never_changes_the_adapter_that_was_put_in() -> None:
    model, lora = lora_model()
    adapter = trained_adapter(lora)
    before = {key: value.clone() for key, value in adapter.items()}
    parameters = lora.put(adapter)
    torch.autograd.backward(whole_loss(model, random_batch(seed=0)))
    torch.optim.SGD(parameters.values(), lr=1.0).step()
    assert not torch.equal(parameters[A_KEY], before[A_KEY])
    assert all(torch.equal(adapter[key], before[key]) for key in adapter)


def test_only_adapters_are_trained() -> None:
    model, lora = lora_model()
    parameters = lora.put(lora.initial(seed=0))
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in parameters.values()}


@given(rank=st.integers(1, 6), start=st.integers(0, 5), key=st.sampled_from([A_KEY, B_KEY]))
def test_rows_are_rows_of_a_and_columns_of_b(rank: int, start: int, key: str) -> None:
    start = min(start, rank - 1)
    values = torch.arange(6 * 6).view(6, 6)
    expected = values[start:rank] if key == A_KEY else values[:, start:rank]
    assert torch.equal(rows(values, key, rank, start), expected)


@given(rank=st.integers(1, 6), key=st.sampled_from([A_KEY, B_KEY]))
def test_merged_rows_replace_the_first_ones_and_leave_the_others(rank: int, key: str) -> None:
    values = torch.arange(6 * 6).view(6, 6)
    merged = with_rows(values, key, -rows(values, key, rank))
    assert torch.equal(rows(merged, key, rank), -rows(values, key, rank))
    assert torch.equal(rows(merged, key, 6, rank), rows(values, key, 6, rank))
    assert values.min() == 0  # the original is as it was


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(TargetError, match="LlamaForCausalLM has no modules named 'c_attn' to adapt"):
        lora_model(targets=("q_proj", "c_attn"))


def test_a_target_outside_the_blocks_is_refused() -> None:
    with pytest.raises(TargetError, match="lm_head"):
        lora_model(targets=("q_proj", "lm_head"))


def test_a_block_without_a_target_is_refused() -> None:
    with pytest.raises(TargetError, match=r"every block needs a module to adapt; .* are in blocks \[2\]"):
        lora_model(targets=("layers.2.self_attn.q_proj",))
