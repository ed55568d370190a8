"""Add what clients have learned from adapters of different age to the latest one (FedBuff, arXiv 2106.06639)."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from workloads.lora import Adapter


def buffered(
    base: Mapping[str, Tensor],
    starts: Sequence[Mapping[str, Tensor]],
    adapters: Sequence[Mapping[str, Tensor]],
    weights: Sequence[float],
) -> Adapter:
    """Return the base plus the mean of weight times (adapter - start): algorithm 1 with a server rate of 1.

    Weights are not renormalised: stale differences count for less, and fresh ones for no more than their share of the
    buffer. Rows that a client does not train differ by zero.

    Args:
        base: the latest global adapter, at full rank as all of them.
        starts: what each client started from.
        adapters: what it made of that.
        weights: of each client, in (0, 1].
    """
    merged = {}
    for key, values in base.items():
        total = values.double()
        for start, adapter, weight in zip(starts, adapters, weights, strict=True):
            total = total + (adapter[key].double() - start[key].double()) * (weight / len(adapters))
        merged[key] = total.to(values.dtype)
    return merged
