"""The rules of aggregation by name, and how a round's updates become the next global state."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from workloads.aggregate import Update, fedavg, ffa, hetlora, hetlora_per_block, segment
from workloads.aggregators import LEAVE_DELTA, RELAY, RESTART
from workloads.lora import Adapter
from workloads.products import flexlora, residual

Rule = Callable[[Mapping[str, Tensor], Sequence[Update]], Adapter]

RULES: Mapping[str, Rule] = {
    "segment": segment,
    "fedavg": fedavg,
    "hetlora": hetlora,
    "hetlora-per-block": hetlora_per_block,
    "flexlora": flexlora,
    "ffa": ffa,
    "fedex": fedavg,  # and what that gets wrong goes into the base model
    RELAY: lambda _base, updates: dict(updates[-1].adapter),
}
"""Make an adapter of the one before the round and the updates. `flora` is not here: it starts a new adapter."""


def merge(
    rule: str,
    base: Mapping[str, Tensor],
    base_delta: Mapping[str, Tensor],
    updates: Sequence[Update],
    restart: Callable[[], Adapter],
) -> tuple[Adapter, Mapping[str, Tensor]]:
    """Return the next global adapter, and what is then to be added to the base model, times the adapter's scale.

    Args:
        rule: a name of `workloads.aggregators`.
        base: the global adapter that the clients started from.
        base_delta: what was added to the base model then.
        updates: what they have trained; without any, nothing changes.
        restart: makes a new adapter, for rules that start one.
    """
    if not updates:
        return dict(base), base_delta
    merged = restart() if rule in RESTART else RULES[rule](base, updates)
    if rule not in LEAVE_DELTA:
        return merged, base_delta
    missing = residual(base, updates, merged)
    return merged, {layer: base_delta[layer] + values if base_delta else values for layer, values in missing.items()}


def copied(base: Mapping[str, Tensor], updates: Sequence[Update]) -> tuple[Adapter, list[Update]]:
    """Return what a user's own rule may change as it likes: the memory of all these adapters once more."""
    return _copy(base), [replace(update, adapter=_copy(update.adapter)) for update in updates]


def checked(base: Mapping[str, Tensor], updates: Sequence[Update], merged: object) -> Adapter:
    """Return what a user's own rule has made of `base` and `updates` as an adapter of the same kind of tensors.

    Raises:
        TypeError, ValueError: it is none, or is not finite although all that it was made of is.
    """
    if not isinstance(merged, Mapping):
        raise TypeError(f"expected a mapping from names to tensors, got {type(merged).__name__}")
    if merged.keys() != base.keys():
        name = min(map(str, merged.keys() ^ base.keys()))
        raise ValueError(f"expected the names of the adapter's tensors, all and no others; see {name}")
    adapter = {key: _like(values, merged[key], key) for key, values in base.items()}
    if not _is_finite(adapter) and all(map(_is_finite, [base, *(update.adapter for update in updates)])):
        raise ValueError("it has numbers that are not finite, made of finite ones")
    return adapter


def _like(values: Tensor, given: object, key: str) -> Tensor:
    """Return a tensor of a user's with the dtype, device and layout of `values`, in memory of its own."""
    if not isinstance(given, Tensor) or not given.is_floating_point() or given.layout != values.layout:
        raise ValueError(f"expected a dense tensor of floating-point numbers for {key}, got {_kind(given)}")
    if given.shape != values.shape:
        raise ValueError(f"expected the shape {list(values.shape)} for {key}, got {list(given.shape)}")
    return torch.empty_like(values).copy_(given.detach())


def _kind(given: object) -> str:
    return f"{given.dtype}, {given.layout}" if isinstance(given, Tensor) else type(given).__name__


def _copy(adapter: Mapping[str, Tensor]) -> Adapter:
    return {key: values.clone() for key, values in adapter.items()}


def _is_finite(adapter: Mapping[str, Tensor]) -> bool:
    return all(bool(values.isfinite().all()) for values in adapter.values())
