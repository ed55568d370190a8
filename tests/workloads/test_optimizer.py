"""Learning-rate schedules, and one AdamW per part against one AdamW over all."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.small_models import single_thread
from workloads.optimizer import PartOptimizer, schedule_factor
from workloads.tasks import OptimizerSpec

pytestmark = pytest.mark.torch

KEYS = tuple(f"base.h.{block}.lora_{kind}.weight" for block in range(2) for kind in "AB")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def spec(schedule: Any = "constant", total_steps: int | None = None, weight_decay: float = 0.0) -> OptimizerSpec:
    return OptimizerSpec(
        learning_rate=1e-2,
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=weight_decay,
        schedule=schedule,
        total_steps=total_steps,
        state="kept",
        max_grad_norm=None,
    )


@given(st.integers(0, 10**6))
def test_a_constant_schedule_never_changes_the_rate(step: int) -> None:
    assert schedule_factor(spec(), step) == 1.0


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_falls_from_one_over_a_half_to_zero_and_stays_there(schedule: str) -> None:
    factors = [schedule_factor(spec(schedule, 10), step) for step in range(15)]
    assert factors[0] == 1.0
    assert factors[5] == pytest.approx(0.5)
    assert factors[10:] == pytest.approx([0.0] * 5)
    assert all(later < earlier for earlier, later in pairwise(factors[:11]))


def test_a_cosine_schedule_starts_slower_than_a_linear_one() -> None:
    # a quarter of the way: cos(pi/4) = 0.7071, so 0.8536 against 0.75
    assert schedule_factor(spec("cosine", 8), 2) == pytest.approx(0.5 * (1 + 0.5**0.5))
    assert schedule_factor(spec("linear", 8), 2) == 0.75


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_two_optimizers_of_two_parts_equal_one_over_all_to_the_bit(weight_decay: float) -> None:
    draws = torch.Generator().manual_seed(0)
    values = {key: torch.nn.Parameter(torch.randn(3, 3, generator=draws)) for key in KEYS}
    twins = {key: torch.nn.Parameter(value.detach().clone()) for key, value in values.items()}
    parts = [
        PartOptimizer(spec(weight_decay=weight_decay), {key: values[key] for key in keys}, None)
        for keys in (KEYS[:2], KEYS[2:])
    ]
    plain = torch.optim.AdamW(twins.values(), lr=1e-2, betas=(0.9, 0.99), weight_decay=weight_decay, foreach=False)
    for step in range(5):
        for key in KEYS:
            gradient = torch.randn(3, 3, generator=draws)
            values[key].grad, twins[key].grad = gradient, gradient.clone()
        plain.step()
        for part in parts:
            part.step(step)
    assert all(torch.equal(values[key], twins[key]) for key in KEYS)
    assert all(value.grad is None for value in values.values())
