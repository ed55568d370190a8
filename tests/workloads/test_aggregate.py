"""Aggregation of adapters whose ranks differ by client and block, against plain numpy."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workloads.aggregate import RULES, Update, fedavg, segment

pytestmark = pytest.mark.torch

RANK, BLOCKS = 4, 2
Case = tuple[dict[str, torch.Tensor], list[Update]]
KEYS = tuple(f"base.h.{block}.attn.lora_{kind}.weight" for block in range(BLOCKS) for kind in "AB")
WIDTH = {"A": 3, "B": 5}


def kind_of(key: str) -> str:
    return "A" if "lora_A" in key else "B"


def random_adapter(rng: np.random.Generator) -> dict[str, torch.Tensor]:
    shapes = {"A": (RANK, WIDTH["A"]), "B": (WIDTH["B"], RANK)}
    return {key: torch.from_numpy(rng.standard_normal(shapes[kind_of(key)]).astype(np.float32)) for key in KEYS}


@st.composite
def rounds(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ranks = st.tuples(*[st.integers(1, RANK)] * BLOCKS)
    updates = [
        Update(adapter=random_adapter(rng), ranks=draw(ranks), weight=draw(st.integers(1, 100)))
        for _ in range(draw(st.integers(1, 5)))
    ]
    return random_adapter(rng), updates


def row(adapter: Mapping[str, torch.Tensor], key: str, index: int) -> np.ndarray:
    values = adapter[key].double().numpy()
    return values[index] if kind_of(key) == "A" else values[:, index]


def block(key: str) -> int:
    return int(key.split(".")[2])


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


@given(rounds())
def test_fedavg_counts_rows_that_a_client_did_not_train_as_zero(case: Case) -> None:
    base, updates = case
    merged = fedavg(base, updates)
    total = sum(u.weight for u in updates)
    for key in KEYS:
        for index in range(RANK):
            trained = [u for u in updates if u.ranks[block(key)] > index]
            expected = row(base, key, index)
            if trained:
                expected = np.sum([u.weight / total * row(u.adapter, key, index) for u in trained], axis=0)
            np.testing.assert_allclose(row(merged, key, index), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_equal_ranks_give_the_textbook_mean(rule: str) -> None:
    rng = np.random.default_rng(0)
    base, one, two = (random_adapter(rng) for _ in range(3))
    updates = [Update(adapter=one, ranks=(4, 4), weight=30), Update(adapter=two, ranks=(4, 4), weight=10)]
    merged = RULES[rule](base, updates)
    for key in KEYS:  # p = 30/40 and 10/40
        torch.testing.assert_close(merged[key], 0.75 * one[key] + 0.25 * two[key])


@given(rounds(), st.sampled_from(sorted(RULES)), st.integers(1, 7))
def test_the_mean_of_equal_adapters_is_that_adapter_to_the_bit(case: Case, rule: str, num_clients: int) -> None:
    base, updates = case
    same = [Update(adapter=updates[0].adapter, ranks=(RANK, RANK), weight=3 * k + 1) for k in range(num_clients)]
    merged = RULES[rule](base, same)
    assert all(torch.equal(merged[key], updates[0].adapter[key]) for key in KEYS)


@given(rounds(), st.sampled_from(sorted(RULES)))
def test_rows_that_a_client_did_not_train_never_count(case: Case, rule: str) -> None:
    base, updates = case
    poisoned = []
    for update in updates:
        adapter = {key: values.clone() for key, values in update.adapter.items()}
        for key, values in adapter.items():
            beyond = (
                values[update.ranks[block(key)] :] if kind_of(key) == "A" else values[:, update.ranks[block(key)] :]
            )
            beyond.fill_(torch.nan)
        poisoned.append(Update(adapter=adapter, ranks=update.ranks, weight=update.weight))
    merged, expected = RULES[rule](base, poisoned), RULES[rule](base, updates)
    assert all(torch.equal(merged[key], expected[key]) for key in KEYS)


@pytest.mark.parametrize("rule", RULES)
def test_a_round_that_nobody_finished_keeps_the_adapter(rule: str) -> None:
    base = random_adapter(np.random.default_rng(1))
    merged = RULES[rule](base, [])
    assert all(torch.equal(merged[key], base[key]) for key in KEYS)


@given(rounds(), st.sampled_from(sorted(RULES)))
def test_aggregation_changes_none_of_its_inputs(case: Case, rule: str) -> None:
    base, updates = case
    inputs = [base, *(update.adapter for update in updates)]
    before = [{key: values.clone() for key, values in adapter.items()} for adapter in inputs]
    RULES[rule](base, updates)
    for adapter, copy in zip(inputs, before, strict=True):
        assert all(torch.equal(adapter[key], copy[key]) for key in KEYS)
