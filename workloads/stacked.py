"""Adapters of several clients as one: for each parameter a tensor [K, ...] with the values of K clients.

A client of a lower rank has the same shape as the others, its higher rows zero. Such a row stays zero by itself: row r
of A gets its gradient through row r of B, and the other way round, so both gradients are zero, AdamW's moments of zero
gradients are zero, and zero decays to zero. Rows that are computed with but not trained are not zero; they are masked.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional

from workloads.lora import block_of, dormant_rows, rank_of
from workloads.optimizer import Moments, schedule_factor
from workloads.tasks import OptimizerSpec

_NORM_EPS = 1e-6  # what torch.nn.utils.clip_grad_norm_ adds to a norm


class StackedLinear(nn.Module):
    """A linear layer without bias that has weights [K, d_out, d_in] for K clients.

    Its input holds the samples of the first client, then as many of the second, and so on: all other layers, which are
    the same for all clients, see one long batch.
    """

    weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return each client's samples times that client's weight; x is [K·B, ..., d_in]."""
        by_client = x.reshape(len(self.weight), -1, x.shape[-1])
        return torch.func.vmap(functional.linear)(by_client, self.weight).reshape(*x.shape[:-1], -1)


def stack(values: Sequence[Tensor], key: str, ranks: Sequence[int], *, keeps_dormant: bool = False) -> Tensor:
    """Return one parameter of K clients, [K, ...].

    Args:
        values: of each client, at full rank.
        key: name of the parameter.
        ranks: rows that each client trains.
        keeps_dormant: whether the others keep their values; else they are zero.
    """
    stacked, max_rank = torch.stack(list(values)), rank_of(values[0], key)
    if not keeps_dormant:
        for own, rank in zip(stacked, ranks, strict=True):
            if rank < max_rank:
                dormant_rows(own, key, rank).zero_()
    return stacked


class StackedAdamW:
    """AdamW of K clients at once, each with its own count of steps, place in the schedule, and parts to clip.

    The arithmetic is that of `torch.optim.AdamW(foreach=True)`.

    Attributes:
        parameters: [K, ...] each.
        first, second: their moments.

    Args:
        spec: learning rate, schedule, clipping and the rest.
        parameters: [K, ...] each; updated in place by their gradients.
        ranks: of each client, the rows of each block that it trains.
        cuts: of each client; blocks below it are one part, the others the other.
        moments: of each client; None to start afresh.
        first_steps: each client's place in the schedule.
        num_steps: that will be taken.
        masks_dormant: whether rows that a client does not train hold values, which must not change.
    """

    def __init__(
        self,
        spec: OptimizerSpec,
        parameters: Mapping[str, Tensor],
        *,
        ranks: Sequence[Sequence[int]],
        cuts: Sequence[int],
        moments: Sequence[Moments | None],
        first_steps: Sequence[int],
        num_steps: int,
        masks_dormant: bool = False,
    ) -> None:
        self._spec, self.parameters = spec, parameters
        self._blocks = [list(keys) for _, keys in groupby(sorted(parameters, key=block_of), key=block_of)]
        like = next(iter(parameters.values()))
        self._masks = dict[str, Tensor]()
        self.first, self.second = dict[str, Tensor](), dict[str, Tensor]()
        for key, values in parameters.items():
            of_block = [of_client[block_of(key)] for of_client in ranks]
            nothing = torch.zeros_like(values[0])
            self.first[key] = stack([m.first[key] if m else nothing for m in moments], key, of_block)
            self.second[key] = stack([m.second[key] if m else nothing for m in moments], key, of_block)
            if masks_dormant:
                self._masks[key] = stack([torch.ones_like(nothing)] * len(ranks), key, of_block)
        before = [m.num_steps if m else 0 for m in moments]
        factors = [_factors(spec, before, first_steps, step) for step in range(num_steps)]
        # Once and for all: moving numbers to a GPU within a step would make the host wait for it.
        self._factors = torch.tensor(factors, dtype=like.dtype, device=like.device)[..., None, None]
        on_client = [[float(block_of(keys[0]) < cut) for cut in cuts] for keys in self._blocks]
        self._on_client = torch.tensor(on_client, dtype=like.dtype, device=like.device)

    @torch.no_grad()
    def step(self, step: int) -> None:
        """Update all clients by their gradients, which are then forgotten; `step` counts from 0."""
        gradients = {key: values.grad for key, values in self.parameters.items() if values.grad is not None}
        for key, mask in self._masks.items():
            gradients[key].mul_(mask)
        if self._spec.max_grad_norm is not None:
            self._clip(gradients, self._spec.max_grad_norm)
        for keys in self._blocks:  # one after another, so that what is worked on stays in a processor's cache
            self._update(keys, [gradients[key] for key in keys], *self._factors[step])
        for values in self.parameters.values():
            values.grad = None

    def _update(
        self, keys: Sequence[str], gradients: list[Tensor], decay: Tensor, rate: Tensor, root_correction: Tensor
    ) -> None:
        beta1, beta2 = self._spec.betas
        parameters = [self.parameters[key] for key in keys]
        first, second = [self.first[key] for key in keys], [self.second[key] for key in keys]
        if self._spec.weight_decay:
            kept = [1 - decay * self._masks[key] if key in self._masks else 1 - decay for key in keys]
            torch._foreach_mul_(parameters, kept)
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        scale = torch._foreach_sqrt(second)  # noqa: SLF001 -- as torch's own optimizers do
        torch._foreach_div_(scale, [root_correction] * len(keys))
        torch._foreach_add_(scale, self._spec.eps)
        update = torch._foreach_div(first, scale)  # noqa: SLF001
        torch._foreach_mul_(update, [rate] * len(keys))
        torch._foreach_sub_(parameters, update)

    def _clip(self, gradients: Mapping[str, Tensor], max_norm: float) -> None:
        """Scale the gradients of each part of each client down to a norm, as `clip_grad_norm_` does for one part."""
        squares = [[gradients[key].square().sum((1, 2)) for key in keys] for keys in self._blocks]
        of_block = torch.stack([torch.stack(of_keys).sum(0) for of_keys in squares])  # [L, K]
        total = torch.stack([(of_block * part).sum(0) for part in (self._on_client, 1 - self._on_client)]).sqrt()
        factor = (max_norm / (total + _NORM_EPS)).clamp(max=1.0)
        for keys, on_client in zip(self._blocks, self._on_client, strict=True):
            of_client = torch.where(on_client > 0, factor[0], factor[1])[:, None, None]
            for key in keys:
                gradients[key].mul_(of_client)


def _factors(
    spec: OptimizerSpec, before: Sequence[int], first_steps: Sequence[int], step: int
) -> tuple[list[float], list[float], list[float]]:
    """Return what a step does, for each client: the share that decays, learning rate and divisor of the root.

    Learning rate and divisor are corrected for moments that started at 0 (Kingma & Ba 2015, algorithm 1).
    """
    rates = [spec.learning_rate * schedule_factor(spec, first + step) for first in first_steps]
    beta1, beta2 = spec.betas
    counts = [num_steps + step + 1 for num_steps in before]
    return (
        [rate * spec.weight_decay for rate in rates],
        [rate / (1 - beta1**count) for rate, count in zip(rates, counts, strict=True)],
        [math.sqrt(1 - beta2**count) for count in counts],
    )
