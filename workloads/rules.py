"""The rules of aggregation by name, and how a round's updates become the next global state."""

from collections.abc import Callable, Mapping, Sequence

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


def checked(base: Mapping[str, Tensor], merged: Mapping[str, Tensor]) -> Adapter:
    """Return what a user's own rule has made of `base` as an adapter of the same kind of tensors.

    Raises:
        ValueError: it is none.
    """
    if merged.keys() != base.keys() or any(merged[key].shape != values.shape for key, values in base.items()):
        raise ValueError("it has to return a tensor of the same name and shape for each one of the adapter")
    return {key: merged[key].to(values) for key, values in base.items()}
