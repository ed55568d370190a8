"""How one adapter is made of many: the rules by name, and what each asks of the rest of a run. No torch here."""

from typing import Literal, get_args

Aggregator = Literal["segment", "fedavg", "hetlora", "hetlora-per-block", "flexlora", "flora", "ffa", "fedex"]
AGGREGATORS: tuple[str, ...] = get_args(Aggregator)

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
