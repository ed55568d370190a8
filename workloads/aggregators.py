"""How one adapter is made of many: the rules by name, and what each asks of the rest of a run. No torch here."""

from typing import Literal, get_args

Aggregator = Literal["segment", "fedavg", "hetlora", "hetlora-per-block", "flexlora", "flora", "ffa", "fedex"]
AGGREGATORS: tuple[str, ...] = get_args(Aggregator)

RELAY = "relay"
"""The last update is the next global adapter: where one adapter is handed on, nothing is averaged. Not for users."""

BUFFERED = "fedbuff"
"""Differences to where each update started are added to the latest adapter (`workloads.buffered`). Not for users."""

LEAVE_DELTA = frozenset({"flora", "fedex"})
"""What the adapter cannot express goes into the base model, for which every client gets all clients' factors."""

RESTART = frozenset({"flora"})
"""The next adapter is a new one."""

TWO_PASSES = frozenset({"hetlora", "hetlora-per-block"})
"""All adapters are gone through for their norms before they are averaged."""

FORGET_MOMENTS = frozenset({"flora", "flexlora"})
"""Rows mean something else after each round, so that moments of the optimizer have to start afresh."""

TRAIN_B_ALONE = frozenset({"ffa"})
"""A stays as it was drawn, so that averaging B is exact."""
