"""Aggregation of products B A: truncated SVD, and what goes into the base model."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.adapters import (
    BLOCKS,
    KEYS,
    LAYERS,
    RANK,
    Case,
    block,
    equal,
    is_a,
    mean_product,
    product,
    random_adapter,
    rounds,
)
from workloads.aggregate import Update, fedavg
from workloads.aggregators import AGGREGATORS, LEAVE_DELTA
from workloads.lora import Adapter
from workloads.products import flexlora
from workloads.rules import merge

pytestmark = pytest.mark.torch


def fresh() -> Adapter:
    """A new adapter: A random, B zero."""
    values = random_adapter(np.random.default_rng(99))
    return {key: value if is_a(key) else torch.zeros_like(value) for key, value in values.items()}


def untouched(base: Adapter, updates: list[Update], layer: str) -> np.ndarray:
    """The product of the rows that no client has."""
    held = max(update.ranks[block(layer)] for update in updates)
    kept: np.ndarray = product(base, layer) - product(base, layer, held)
    return kept


def whole(merged: Adapter, delta: Mapping[str, torch.Tensor], layer: str) -> np.ndarray:
    """What is added to a layer's weights in all, before scaling."""
    added: np.ndarray = delta[layer].double().numpy() + product(merged, layer)
    return added


@given(rounds(with_all_rows=True), st.sampled_from(sorted(LEAVE_DELTA)))
def test_exact_rules_reproduce_the_mean_product_with_the_delta(case: Case, rule: str) -> None:
    base, updates = case
    merged, delta = merge(rule, base, {}, updates, fresh)
    for layer in LAYERS:
        np.testing.assert_allclose(whole(merged, delta, layer), mean_product(updates, layer), rtol=0, atol=1e-5)


@given(rounds(), st.sampled_from(sorted(LEAVE_DELTA)))
def test_exact_rules_lose_no_row_that_nobody_has(case: Case, rule: str) -> None:
    base, updates = case
    merged, delta = merge(rule, base, {}, updates, fresh)
    for layer in LAYERS:
        expected = mean_product(updates, layer) + untouched(base, updates, layer)
        np.testing.assert_allclose(whole(merged, delta, layer), expected, rtol=0, atol=1e-5)


@given(rounds(), rounds(), st.sampled_from(sorted(LEAVE_DELTA)))
def test_deltas_of_rounds_add_up(first: Case, second: Case, rule: str) -> None:
    base, updates = first
    merged, delta = merge(rule, base, {}, updates, fresh)
    _, alone = merge(rule, merged, {}, second[1], fresh)
    _, both = merge(rule, merged, delta, second[1], fresh)
    assert list(both) == list(LAYERS)
    assert all(torch.equal(both[layer], delta[layer] + alone[layer]) for layer in LAYERS)


@given(rounds())
def test_flora_starts_a_new_adapter_and_fedex_averages(case: Case) -> None:
    base, updates = case
    assert equal(merge("flora", base, {}, updates, fresh)[0], fresh())
    assert equal(merge("fedex", base, {}, updates, fresh)[0], fedavg(base, updates))


@given(rounds(), st.integers(1, 4))
def test_fedex_leaves_nothing_to_the_base_model_where_all_are_equal(case: Case, num_clients: int) -> None:
    base, updates = case
    same = [Update(adapter=updates[0].adapter, ranks=(RANK,) * BLOCKS, weight=k + 1) for k in range(num_clients)]
    _, delta = merge("fedex", base, {}, same, fresh)
    assert all(values.abs().max() < 1e-6 for values in delta.values())


@given(rounds(with_all_rows=True))
def test_flexlora_is_the_truncated_svd_of_the_mean_product(case: Case) -> None:
    base, updates = case
    merged = flexlora(base, updates)
    for layer in LAYERS:
        u, s, vh = np.linalg.svd(mean_product(updates, layer), full_matrices=False)
        expected = (u[:, :RANK] * s[:RANK]) @ vh[:RANK]
        np.testing.assert_allclose(product(merged, layer), expected, rtol=0, atol=2e-5)
        a = merged[f"{layer}.lora_A.weight"].double()
        torch.testing.assert_close(a @ a.T, torch.eye(RANK).double(), atol=1e-5, rtol=0)
        norms = merged[f"{layer}.lora_B.weight"].double().norm(dim=0).numpy()  # B takes the singular values
        np.testing.assert_allclose(norms, s[:RANK], rtol=1e-5, atol=1e-5)
        largest = a.gather(1, a.abs().argmax(1, keepdim=True))
        assert (largest > 0).all()


@given(rounds())
def test_flexlora_keeps_rows_that_nobody_has_as_part_of_the_product(case: Case) -> None:
    base, updates = case
    merged = flexlora(base, updates)
    for layer in LAYERS:
        u, s, vh = np.linalg.svd(mean_product(updates, layer) + untouched(base, updates, layer), full_matrices=False)
        np.testing.assert_allclose(product(merged, layer), (u[:, :RANK] * s[:RANK]) @ vh[:RANK], rtol=0, atol=2e-5)


def test_flexlora_leaves_rows_trainable_that_the_mean_product_does_not_need() -> None:
    # One client with 2 of 4 rows, and a base whose B is 0: the mean product has rank 2.
    base = fresh()
    update = Update(adapter=random_adapter(np.random.default_rng(0)), ranks=(2, 2), weight=1.0)
    merged = flexlora(base, [update])
    for layer in LAYERS:
        a, b = (f"{layer}.lora_{factor}.weight" for factor in "AB")
        assert not merged[b][:, 2:].any()
        assert torch.equal(merged[a][2:], base[a][2:])
        np.testing.assert_allclose(product(merged, layer), product(update.adapter, layer, 2), rtol=0, atol=1e-5)


def test_flexlora_of_nothing_learned_changes_nothing() -> None:
    base = fresh()
    update = Update(adapter=fresh(), ranks=(RANK, RANK), weight=1.0)
    assert equal(flexlora(base, [update]), base)


def test_flexlora_of_many_clients_needs_no_more_rows_than_the_layer_is_wide() -> None:
    # 5 · 4 = 20 stacked rows, layers of 7 x 9
    rng = np.random.default_rng(0)
    updates = [Update(adapter=random_adapter(rng), ranks=(4, 4), weight=1.0) for _ in range(5)]
    merged = flexlora(random_adapter(rng), updates)
    for layer in LAYERS:
        s = np.linalg.svd(mean_product(updates, layer), compute_uv=False)
        missing = mean_product(updates, layer) - product(merged, layer)
        assert np.linalg.norm(missing) == pytest.approx(np.linalg.norm(s[RANK:]), rel=1e-4)  # Eckart and Young 1936


@pytest.mark.parametrize("rule", AGGREGATORS)
def test_a_round_that_nobody_finished_changes_nothing(rule: str) -> None:
    base, delta = random_adapter(np.random.default_rng(1)), {LAYERS[0]: torch.ones(9, 7)}
    merged, kept = merge(rule, base, delta, [], fresh)
    assert equal(merged, base)
    assert kept is delta


@pytest.mark.parametrize("rule", sorted(set(AGGREGATORS) - LEAVE_DELTA))
def test_other_rules_leave_nothing_to_the_base_model(rule: str) -> None:
    rng = np.random.default_rng(1)
    updates = [Update(adapter=random_adapter(rng), ranks=(2, 4), weight=1.0) for _ in range(2)]
    assert merge(rule, random_adapter(rng), {}, updates, fresh)[1] == {}


@given(rounds(), st.sampled_from(sorted(LEAVE_DELTA)))
def test_merging_changes_none_of_its_inputs(case: Case, rule: str) -> None:
    base, updates = case
    delta = {layer: torch.ones(9, 7) for layer in LAYERS}
    inputs = [base, *(update.adapter for update in updates)]
    before = [{key: values.clone() for key, values in adapter.items()} for adapter in inputs]
    merge(rule, base, delta, updates, fresh)
    assert all(equal(adapter, copy) for adapter, copy in zip(inputs, before, strict=True))
    assert all(torch.equal(values, torch.ones(9, 7)) for values in delta.values())
    assert tuple(base) == KEYS
