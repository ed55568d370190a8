"""AdamW of several clients at once against one `torch.optim.AdamW` for each part of each client."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.workloads.small_models import single_thread
from tests.workloads.test_optimizer import KEYS, spec
from workloads.lora import rows
from workloads.optimizer import Moments, PartOptimizer
from workloads.stacked import StackedAdamW, StackedLinear, stack
from workloads.tasks import OptimizerSpec

pytestmark = pytest.mark.torch

RANK = 3
CUTS = (1, 1, 1)  # one block on either side


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def values_like(draws: torch.Generator) -> dict[str, Tensor]:
    shapes = {key: (RANK, 5) if "lora_A" in key else (4, RANK) for key in KEYS}
    return {key: torch.randn(shape, generator=draws, dtype=torch.float64) for key, shape in shapes.items()}


def stepped_alone(
    spec: OptimizerSpec, start: dict[str, Tensor], moments: Moments | None, first_step: int, gradients: list[Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return values and second moments after steps by an optimizer for each part."""
    parameters = {key: nn.Parameter(value.clone()) for key, value in start.items()}
    parts = [PartOptimizer(spec, {key: parameters[key] for key in keys}, moments) for keys in (KEYS[:2], KEYS[2:])]
    for step, of_step in enumerate(gradients, first_step):
        for key, gradient in of_step.items():
            parameters[key].grad = gradient.clone()
        for part in parts:
            part.step(step)
    second = {key: value for part in parts for key, value in part.moments(start)[1].items()}
    return {key: value.detach() for key, value in parameters.items()}, second


@pytest.mark.parametrize("max_grad_norm", [None, 0.5])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_clients_with_different_pasts_step_as_each_would_alone(weight_decay: float, max_grad_norm: float) -> None:
    draws = torch.Generator().manual_seed(0)
    plan = OptimizerSpec(
        learning_rate=1e-2,
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=weight_decay,
        schedule="linear",
        total_steps=20,
        state="kept",
        max_grad_norm=max_grad_norm,
    )
    starts = [values_like(draws) for _ in CUTS]
    past = [values_like(draws) for _ in range(2)]
    first, second = past[0], {key: value.square() for key, value in past[1].items()}
    moments = [
        None,
        Moments(first=first, second=second, num_steps=3),
        Moments(first=second, second=second, num_steps=7),
    ]
    first_steps = [0, 3, 9]
    gradients = [[values_like(draws) for _ in range(4)] for _ in CUTS]

    parameters = {key: stack([start[key] for start in starts], key, [RANK] * 3).requires_grad_() for key in KEYS}
    optimizer = StackedAdamW(
        plan, parameters, ranks=[(RANK, RANK)] * 3, cuts=CUTS, moments=moments, first_steps=first_steps, num_steps=4
    )
    for step in range(4):
        for key in KEYS:
            parameters[key].grad = torch.stack([of_client[step][key] for of_client in gradients])
        optimizer.step(step)
        assert all(values.grad is None for values in parameters.values())

    for i, start in enumerate(starts):
        expected, expected_second = stepped_alone(plan, start, moments[i], first_steps[i], gradients[i])
        for key in KEYS:
            torch.testing.assert_close(parameters[key][i].detach(), expected[key], rtol=1e-13, atol=1e-13)
            torch.testing.assert_close(optimizer.second[key][i], expected_second[key], rtol=1e-13, atol=1e-13)


def test_frozen_rows_neither_move_nor_decay_nor_count_for_clipping() -> None:
    draws = torch.Generator().manual_seed(1)
    ranks = [(1, RANK), (2, 1)]
    starts = [values_like(draws) for _ in ranks]
    parameters = {
        key: stack([start[key] for start in starts], key, [r[j // 2] for r in ranks], keeps_dormant=True)
        for j, key in enumerate(KEYS)
    }
    gradients = [values_like(draws) for _ in ranks]
    plan = OptimizerSpec(**{**vars(spec(weight_decay=0.5)), "max_grad_norm": 0.1})
    optimizer = StackedAdamW(
        plan,
        parameters,
        ranks=ranks,
        cuts=(1, 1),
        moments=[None, None],
        first_steps=[0, 0],
        num_steps=1,
        masks_dormant=True,
    )
    for key in KEYS:
        parameters[key].grad = torch.stack([of_client[key] for of_client in gradients])
    optimizer.step(0)
    for i, of_client in enumerate(ranks):
        own = {key: rows(starts[i][key], key, of_client[j // 2]) for j, key in enumerate(KEYS)}
        at_own = [{key: rows(gradients[i][key], key, of_client[j // 2]) for j, key in enumerate(KEYS)}]
        expected, _ = stepped_alone(plan, own, None, 0, at_own)
        for j, key in enumerate(KEYS):
            rank = of_client[j // 2]
            torch.testing.assert_close(rows(parameters[key][i], key, rank), expected[key], rtol=1e-13, atol=1e-13)
            assert torch.equal(
                rows(parameters[key][i], key, RANK, start=rank), rows(starts[i][key], key, RANK, start=rank)
            )


def test_each_client_is_multiplied_by_its_own_weight() -> None:
    draws = torch.Generator().manual_seed(2)
    layer = StackedLinear()
    layer.weight = torch.randn(3, 2, 5, generator=draws)
    x = torch.randn(6, 7, 5, generator=draws)  # three clients of two samples
    expected = torch.cat([nn.functional.linear(x[2 * k : 2 * k + 2], layer.weight[k]) for k in range(3)])
    torch.testing.assert_close(layer(x), expected)
