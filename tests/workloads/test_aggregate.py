"""Averages of adapters whose ranks differ by client and block, against plain numpy."""

from collections.abc import Callable, Mapping

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
    product,
    random_adapter,
    rounds,
)
from workloads.aggregate import Update, fedavg, ffa, hetlora, hetlora_per_block, segment, squared_norm
from workloads.aggregators import RELAY
from workloads.rules import RULES

pytestmark = pytest.mark.torch

AVERAGING = sorted(RULES.keys() - {RELAY})  # that one hands on what it gets
AVERAGES = sorted({*AVERAGING} - {"flexlora"})  # row by row; test_products.py has the others
Rule = Callable[[Mapping[str, torch.Tensor], list[Update]], dict[str, torch.Tensor]]


def row(adapter: Mapping[str, torch.Tensor], key: str, index: int) -> np.ndarray:
    values = adapter[key].double().numpy()
    return values[index] if is_a(key) else values[:, index]


@given(rounds())
def test_segment_averages_each_row_over_those_who_trained_it(case: Case) -> None:
    base, updates = case
    merged = segment(base, updates)
    for key in KEYS:
        for index in range(RANK):
            trained = [u for u in updates if u.ranks[block(key)] > index]
            expected = row(base, key, index)
            if trained:
                shares = np.array([u.weight for u in trained]) / sum(u.weight for u in trained)
                expected = np.sum(
                    [p * row(u.adapter, key, index) for p, u in zip(shares, trained, strict=True)], axis=0
                )
            np.testing.assert_allclose(row(merged, key, index), expected, rtol=1e-6, atol=1e-6)


def zero_padded(base: Mapping[str, torch.Tensor], updates: list[Update], weights: list[float], key: str) -> np.ndarray:
    """The weighted mean of one parameter, rows that a client does not have as zero; nobody's rows as in the base."""
    rows = []
    for index in range(RANK):
        trained = [(w, u) for w, u in zip(weights, updates, strict=True) if u.ranks[block(key)] > index]
        expected = row(base, key, index)
        if trained:
            expected = np.sum([w / sum(weights) * row(u.adapter, key, index) for w, u in trained], axis=0)
        rows.append(expected)
    return np.stack(rows, axis=0 if is_a(key) else 1)


@given(rounds())
def test_fedavg_counts_rows_that_a_client_did_not_train_as_zero(case: Case) -> None:
    base, updates = case
    merged = fedavg(base, updates)
    for key in KEYS:
        expected = zero_padded(base, updates, [u.weight for u in updates], key)
        np.testing.assert_allclose(merged[key], expected, rtol=1e-6, atol=1e-6)


@given(rounds())
def test_hetlora_weighs_clients_by_the_norm_of_their_product_over_the_model(case: Case) -> None:
    base, updates = case
    norms = [
        float(np.sqrt(sum(np.square(product(u.adapter, layer, u.ranks[block(layer)])).sum() for layer in LAYERS)))
        for u in updates
    ]
    merged = hetlora(base, updates)
    for key in KEYS:
        np.testing.assert_allclose(merged[key], zero_padded(base, updates, norms, key), rtol=1e-5, atol=1e-6)


@given(rounds())
def test_hetlora_per_block_weighs_clients_by_the_norm_over_each_block(case: Case) -> None:
    base, updates = case
    merged = hetlora_per_block(base, updates)
    assert list(merged) == list(base)
    for key in KEYS:
        of_block = [layer for layer in LAYERS if block(layer) == block(key)]
        norms = [
            float(np.sqrt(sum(np.square(product(u.adapter, layer, u.ranks[block(key)])).sum() for layer in of_block)))
            for u in updates
        ]
        np.testing.assert_allclose(merged[key], zero_padded(base, updates, norms, key), rtol=1e-5, atol=1e-6)


@given(rounds())
def test_a_squared_norm_is_that_of_the_product(case: Case) -> None:
    for update in case[1]:
        expected = sum(np.square(product(update.adapter, layer, update.ranks[block(layer)])).sum() for layer in LAYERS)
        assert squared_norm(update, KEYS) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rule", [hetlora, hetlora_per_block])
def test_products_that_are_all_zero_weigh_as_their_samples_do(rule: Rule) -> None:
    rng = np.random.default_rng(0)
    base = random_adapter(rng)
    updates = [
        Update(
            adapter={key: v if is_a(key) else torch.zeros_like(v) for key, v in random_adapter(rng).items()},
            ranks=(RANK,) * BLOCKS,
            weight=weight,
        )
        for weight in (1.0, 3.0)
    ]
    assert equal(rule(base, updates), fedavg(base, updates))


def test_a_block_in_which_all_products_are_zero_weighs_as_samples_do_and_the_others_by_norm() -> None:
    rng = np.random.default_rng(0)
    base = random_adapter(rng)
    updates = [
        Update(
            adapter={
                key: torch.zeros_like(v) if block(key) == 0 and not is_a(key) else v
                for key, v in random_adapter(rng).items()
            },
            ranks=(RANK,) * BLOCKS,
            weight=weight,
        )
        for weight in (1.0, 3.0)
    ]
    merged, plain, by_norm = (rule(base, updates) for rule in (hetlora_per_block, fedavg, hetlora))
    assert all(torch.equal(merged[key], plain[key]) for key in KEYS if block(key) == 0)
    # All norm is in block 1, so there both kinds of norms are the same.
    assert all(torch.allclose(merged[key], by_norm[key]) for key in KEYS if block(key) == 1)


@given(rounds())
def test_ffa_never_changes_a_and_averages_b(case: Case) -> None:
    base, updates = case
    merged, mean = ffa(base, updates), fedavg(base, updates)
    assert list(merged) == list(base)
    assert all(torch.equal(merged[key], (base if is_a(key) else mean)[key]) for key in KEYS)


@given(rounds(with_all_rows=True))
def test_ffa_is_exact_where_all_have_the_same_a(case: Case) -> None:
    base, updates = case
    same_a = [
        Update(
            adapter={key: base[key] if is_a(key) else values for key, values in u.adapter.items()},
            ranks=u.ranks,
            weight=u.weight,
        )
        for u in updates
    ]
    merged, total = ffa(base, same_a), sum(u.weight for u in same_a)
    for layer in LAYERS:
        expected = sum(u.weight / total * product(u.adapter, layer, u.ranks[block(layer)]) for u in same_a)
        np.testing.assert_allclose(product(merged, layer), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rule", AVERAGES)
def test_equal_ranks_and_equal_norms_give_the_textbook_mean(rule: str) -> None:
    # The second client's product is the first one's with the opposite sign: its norm is the same.
    base, one = (random_adapter(np.random.default_rng(seed)) for seed in (0, 1))
    one |= {key: base[key] for key in KEYS if is_a(key)}
    two = {key: values if is_a(key) else -values for key, values in one.items()}
    equal_weights = 20 if rule.startswith("hetlora") else None
    updates = [
        Update(adapter=adapter, ranks=(4, 4), weight=equal_weights or weight)
        for adapter, weight in ((one, 30), (two, 10))
    ]
    merged = RULES[rule](base, updates)
    share = 0.5 if equal_weights else 0.75  # p = 30/40 and 10/40
    for key in KEYS:
        torch.testing.assert_close(merged[key], share * one[key] + (1 - share) * two[key])


@given(rounds(), st.sampled_from(AVERAGES), st.integers(1, 7))
def test_the_mean_of_equal_adapters_is_that_adapter_to_the_bit(case: Case, rule: str, num_clients: int) -> None:
    base, updates = case
    same = [Update(adapter=updates[0].adapter, ranks=(RANK, RANK), weight=3 * k + 1) for k in range(num_clients)]
    merged = RULES[rule](base, same)
    averaged = [key for key in KEYS if rule != "ffa" or not is_a(key)]
    assert all(torch.equal(merged[key], updates[0].adapter[key]) for key in averaged)


@given(rounds(), st.sampled_from(AVERAGING))
def test_rows_that_are_not_a_clients_own_never_count(case: Case, rule: str) -> None:
    base, updates = case
    poisoned = []
    for update in updates:
        adapter = {key: values.clone() for key, values in update.adapter.items()}
        for key, values in adapter.items():
            beyond = values[update.ranks[block(key)] :] if is_a(key) else values[:, update.ranks[block(key)] :]
            beyond.fill_(torch.nan)
        poisoned.append(Update(adapter=adapter, ranks=update.ranks, weight=update.weight))
    assert equal(RULES[rule](base, poisoned), RULES[rule](base, updates))


@given(rounds(), st.sampled_from(sorted(RULES)))
def test_aggregation_changes_none_of_its_inputs(case: Case, rule: str) -> None:
    base, updates = case
    inputs = [base, *(update.adapter for update in updates)]
    before = [{key: values.clone() for key, values in adapter.items()} for adapter in inputs]
    RULES[rule](base, updates)
    assert all(equal(adapter, copy) for adapter, copy in zip(inputs, before, strict=True))
