"""Average the adapters that clients have trained, whose ranks may differ by client and block.

A row that nobody has in its update keeps the value of the global adapter. `workloads.products` has the rules that look
at the product B A; `workloads.rules` names them all.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from workloads.lora import Adapter, b_of, block_of, is_a, rows


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one client has trained.

    Attributes:
        adapter: at full rank; of block j only the first `ranks[j]` rows count.
        ranks: rows of each block that are the client's.
        weight: its share p_k, positive; shares need not sum to 1.
    """

    adapter: Mapping[str, Tensor]
    ranks: Sequence[int]
    weight: float

    def rows(self, key: str) -> Tensor:
        """Return the client's rows of one parameter in double precision."""
        return rows(self.adapter[key], key, self.ranks[block_of(key)]).double()


def segment(base: Mapping[str, Tensor], updates: Sequence[Update]) -> Adapter:
    """Average each row over the clients that trained it, their weights renormalised (cf. arXiv 2606.15963).

    Rows between two neighbouring ranks form a segment with the same trainers.
    """
    return _by_segment(base, updates, lambda trainers: sum(update.weight for update in trainers))


def fedavg(base: Mapping[str, Tensor], updates: Sequence[Update]) -> Adapter:
    """Average A and B separately over all clients, rows that one does not have counting as zero (FedIT, 2305.05644).

    Biased: the mean of B times the mean of A is not the mean of B A.
    """
    total = sum(update.weight for update in updates)
    return _by_segment(base, updates, lambda _trainers: total)


def ffa(base: Mapping[str, Tensor], updates: Sequence[Update]) -> Adapter:
    """Average B alone, which is exact because A is the same everywhere (FFA-LoRA, arXiv 2403.12313)."""
    return {**base, **fedavg({key: values for key, values in base.items() if not is_a(key)}, updates)}


def hetlora(base: Mapping[str, Tensor], updates: Sequence[Update]) -> Adapter:
    """Average as `fedavg`, but weigh clients by the norm of B A over the whole model (HetLoRA, arXiv 2401.06432)."""
    return fedavg(base, _weighed_by_norm(updates, base))


def hetlora_per_block(base: Mapping[str, Tensor], updates: Sequence[Update]) -> Adapter:
    """Average as `hetlora`, but weigh clients in each block by the norm of B A over that block."""
    blocks: defaultdict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, values in base.items():
        blocks[block_of(key)][key] = values
    merged = dict(base)
    for block in blocks.values():
        merged |= fedavg(block, _weighed_by_norm(updates, block))
    return merged


def squared_norm(update: Update, keys: Iterable[str]) -> float:
    """Return the sum of |B A|² over the layers of some parameters.

    |B A|² = tr(Aᵀ Bᵀ B A) = sum((A Aᵀ) * (Bᵀ B)), products of r x r matrices only.
    """
    total = 0.0
    for key in filter(is_a, keys):
        a, b = update.rows(key), update.rows(b_of(key))
        total += float(((a @ a.T) * (b.T @ b)).sum())
    return max(total, 0.0)  # rounding may leave it below


def _weighed_by_norm(updates: Sequence[Update], keys: Iterable[str]) -> Sequence[Update]:
    """Return the updates with norms as weights; unchanged where all norms are 0."""
    keys = list(keys)
    norms = [squared_norm(update, keys) ** 0.5 for update in updates]
    if not any(norms):
        return updates
    return [replace(update, weight=norm) for update, norm in zip(updates, norms, strict=True)]


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
