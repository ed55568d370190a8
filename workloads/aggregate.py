"""Make one adapter of those that clients have trained, whose ranks may differ by client and block."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from workloads.lora import Adapter, block_of, rows


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one client has trained.

    Attributes:
        adapter: at full rank; of block j only the first `ranks[j]` rows are the client's own.
        ranks: rows of each block that the client has trained.
        weight: its share p_k, positive; shares need not sum to 1.
    """

    adapter: Mapping[str, Tensor]
    ranks: Sequence[int]
    weight: float


def segment(base: Mapping[str, Tensor], updates: Sequence[Update]) -> Adapter:
    """Average each row over the clients that trained it, their weights renormalised (cf. arXiv 2606.15963).

    Rows between two neighbouring ranks form a segment with the same trainers. One that nobody trained keeps its value.
    """
    return _by_segment(base, updates, lambda trainers: sum(update.weight for update in trainers))


def fedavg(base: Mapping[str, Tensor], updates: Sequence[Update]) -> Adapter:
    """Average A and B separately over all clients, rows that one did not train counting as zero (FedIT).

    Biased: the mean of B times the mean of A is not the mean of B A. A row that nobody trained was sent by nobody and
    keeps its value.
    """
    total = sum(update.weight for update in updates)
    return _by_segment(base, updates, lambda _trainers: total)


RULES: Mapping[str, Callable[[Mapping[str, Tensor], Sequence[Update]], Adapter]] = {
    "segment": segment,
    "fedavg": fedavg,
}


def _by_segment(
    base: Mapping[str, Tensor], updates: Sequence[Update], total: Callable[[Sequence[Update]], float]
) -> Adapter:
    """Return the base with each segment replaced by the weighted sum of its trainers' rows over `total`."""
    merged = {key: values.clone() for key, values in base.items()}
    for key, values in merged.items():
        block = block_of(key)
        for start, end in pairwise(sorted({0, *(update.ranks[block] for update in updates)})):
            trainers = [update for update in updates if update.ranks[block] >= end]
            mean = _weighted_sum([rows(t.adapter[key], key, end, start) for t in trainers], trainers, total(trainers))
            rows(values, key, end, start).copy_(mean)
    return merged


def _weighted_sum(parts: Sequence[Tensor], trainers: Sequence[Update], total: float) -> Tensor:
    # In double precision, so that the mean of equal adapters is that adapter to the bit.
    summed = torch.zeros_like(parts[0], dtype=torch.float64)
    for part, trainer in zip(parts, trainers, strict=True):
        summed.add_(part, alpha=trainer.weight / total)
    return summed
