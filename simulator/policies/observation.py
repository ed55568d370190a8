"""What a cut policy sees and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Memory: TypeAlias = Mapping[Any, Any]
"""What a policy wants to be given at its next call; policies keep nothing elsewhere."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundSeconds:
    """Seconds that a client's next round would take of each resource, with nobody else there, by cut.

    Attributes:
        client_s: it computes.
        transfer_s: its messages travel, latency included.
        server_s: the server computes for it.
        is_beside: whether the server does so while the client computes, so that the longer of the two counts.
    """

    client_s: Floats
    transfer_s: Floats
    server_s: Floats
    is_beside: bool = False

    @cached_property
    def path_s(self) -> Floats:
        """Return the time from the start of the round until it has handed in."""
        if self.is_beside:
            return np.maximum(self.client_s, self.server_s) + self.transfer_s
        return self.client_s + self.server_s + self.transfer_s

    def slowed(self, factor: float) -> "RoundSeconds":
        """Return the same for a client that computes `factor` times as long."""
        return replace(self, client_s=factor * self.client_s)

    def at(self, cuts: slice) -> "RoundSeconds":
        """Return a part of it: places in the arrays, not cuts."""
        parts = {name: getattr(self, name)[cuts] for name in ("client_s", "transfer_s", "server_s")}
        return replace(self, **parts)


class CutCosts:
    """What the next round would cost a client at each cut from 1 to one less than the model has blocks.

    Arrays have the cut 1 in place 0. Nothing is computed until it is asked for, and then for all cuts at once: a policy
    that does not look ahead costs nothing.

    Args:
        predict: returns the seconds by cut.
        slowdown: returns how many times as long as predicted the client computed in its last round.
    """

    def __init__(self, predict: Callable[[], RoundSeconds], slowdown: Callable[[], float] = lambda: 1.0) -> None:
        self._predict, self._slowdown = predict, slowdown

    @cached_property
    def seconds(self) -> RoundSeconds:
        """Return the prediction."""
        return self._predict()

    @cached_property
    def slowdown(self) -> float:
        """Return how many times as long as predicted the client computed in its last round; 1 before its first."""
        return self._slowdown()


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What the server knows of one client when cuts are decided.

    Attributes:
        client: its number.
        device: id of its hardware.
        cut: decoder blocks that it holds now; None before its first round.
        min_cut, max_cut: the cuts allowed to it, inclusive: the scenario's bounds, the model and its memory.
        busy_s: seconds a step that its own path took in the last round, waiting for others excluded, scaled to the
            cohort's mean padded tokens; None before its first round, and where nothing new has been seen of it.
        step_s: the same with its waiting for the server, whichever way the protocol makes it wait.
        client_block_s: seconds a step that one block took on the client (forward, backward, optimizer), scaled
            likewise.
        server_block_s: seconds a step of its own path that one block took on the server, scaled likewise; 0 where the
            client does not wait for what the server does.
        performance: validation token accuracy of its adapter, higher is better; None where nothing is learned, or
            where the policy does not ask for it.
        uplink_bytes_per_s: of its own connection.
        draw: a random number in [0, 1) that belongs to this client and this round.
        slots: steps that the server takes at a time.
        is_relayed: whether clients work one after another, so that a round is the sum of their paths.
        costs: what its next round would cost it at each cut.
    """

    client: int
    device: str
    cut: int | None
    min_cut: int
    max_cut: int
    busy_s: float | None
    step_s: float | None
    client_block_s: float | None
    server_block_s: float | None
    performance: float | None
    uplink_bytes_per_s: float
    draw: float
    slots: int
    is_relayed: bool
    costs: CutCosts

    @property
    def allowed(self) -> range:
        """Return the cuts allowed to it."""
        return range(self.min_cut, self.max_cut + 1)

    def clip(self, cut: int) -> int:
        """Return the allowed cut that is nearest."""
        return max(self.min_cut, min(cut, self.max_cut))

    def seconds(self) -> RoundSeconds:
        """Return what the next round would cost at the allowed cuts: arrays with `min_cut` in place 0."""
        return self.costs.seconds.at(slice(self.min_cut - 1, self.max_cut))


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The cuts of the next round.

    Attributes:
        cuts: client -> decoder blocks it shall hold.
        reasons: client -> why, in a few words for tables.
        memory: what the policy wants to be given at its next call.
    """

    cuts: Mapping[int, int]
    reasons: Mapping[int, str]
    memory: Memory
