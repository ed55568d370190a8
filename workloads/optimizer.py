"""AdamW over one part of a model, going on from moments that a client has kept."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workloads.lora import Adapter, block_of, trained_rows, with_rows
from workloads.tasks import OptimizerSpec


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What AdamW remembers for one client, both parts together.

    Attributes:
        first, second: running means of gradients and of squared gradients, at full rank; rows that the client did not
            train lately are as its last training of them left them.
        num_steps: how many steps the client has taken; one count for all its rows.
        block_steps: how many steps each block has taken, where blocks differ in that; none where they do not.
    """

    first: Adapter
    second: Adapter
    num_steps: int
    block_steps: tuple[int, ...] = ()

    def steps_of(self, key: str) -> int:
        """Return how many steps a parameter has taken."""
        return self.block_steps[block_of(key)] if self.block_steps else self.num_steps


class PartOptimizer:
    """Steps the adapters of one part.

    Args:
        spec: learning rate, schedule, clipping and the rest.
        parameters: the part's own, at the ranks that are trained.
        moments: of the whole model; None to start afresh.
    """

    def __init__(self, spec: OptimizerSpec, parameters: Mapping[str, nn.Parameter], moments: Moments | None) -> None:
        self._spec = spec
        self._parameters = parameters
        self._before = moments
        self._adamw = torch.optim.AdamW(
            list(parameters.values()),
            lr=spec.learning_rate,
            betas=spec.betas,
            eps=spec.eps,
            weight_decay=spec.weight_decay,
            foreach=True,  # the same arithmetic as the plain loop in fewer calls
        )
        if moments is not None:
            for key, parameter in parameters.items():
                self._adamw.state[parameter] = {
                    "step": torch.tensor(float(moments.steps_of(key))),
                    "exp_avg": trained_rows(moments.first[key], key, parameter),
                    "exp_avg_sq": trained_rows(moments.second[key], key, parameter),
                }

    def step(self, step: int) -> None:
        """Update the parameters by their gradients, which are then forgotten; `step` counts the client's from 0."""
        if self._spec.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters.values(), self._spec.max_grad_norm)
        for group in self._adamw.param_groups:
            group["lr"] = self._spec.learning_rate * schedule_factor(self._spec, step)
        self._adamw.step()
        self._adamw.zero_grad()

    def moments(self, full: Mapping[str, Tensor]) -> tuple[Adapter, Adapter]:
        """Return the first and second moments of the own parameters, at full rank, the shapes of `full`."""
        first, second = {}, {}
        for key, parameter in self._parameters.items():
            state = self._adamw.state[parameter]
            before = self._before
            first[key] = with_rows(before.first[key] if before else torch.zeros_like(full[key]), key, state["exp_avg"])
            second[key] = with_rows(
                before.second[key] if before else torch.zeros_like(full[key]), key, state["exp_avg_sq"]
            )
        return first, second


def schedule_factor(spec: OptimizerSpec, step: int) -> float:
    """Return the share of the full learning rate that a client's step has, counted from 0.

    It is 1 at the first step and 0 at step `total_steps`, the first one that the schedule does not foresee.
    """
    if spec.schedule == "constant":
        return 1.0
    assert spec.total_steps is not None
    done = min(1.0, step / spec.total_steps)
    return 1.0 - done if spec.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
