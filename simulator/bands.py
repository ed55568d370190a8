"""Demands on a shared capacity, and the bands of those that have one limit: the bookkeeping of `share.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

import simpy

_UNIT_BITS: Final = 64
_UNLIMITED: Final = 1 << 1200  # above every finite float in units
_FEW: Final = 32  # below this many leftovers, tidying up is not worth its time


def units(rate: float) -> int:
    """Return a rate as a whole number of 2**-64 a second, rounded down: such numbers add up without rounding."""
    if rate == math.inf:
        return _UNLIMITED
    numerator, denominator = rate.as_integer_ratio()
    return (numerator << _UNIT_BITS) // denominator


def quotient(rate_units: int, divisor: int) -> float:
    """Return a rate in units divided by a whole number, rounded once."""
    return rate_units / (divisor << _UNIT_BITS)


class Demand(simpy.Event):  # type: ignore[misc]
    """An amount that wants its part of a capacity; an event that fires when that has ended.

    `left` is what was to do at `since_s`, from when on it has progressed at `rate` a second. `order` breaks ties, the
    smaller first. The other fields belong to the share that serves it: `goal` is the reading of its band's clock at
    which it will be done, none while it was never slowed; `due_s` and `due_clock` tell its one valid entry in the
    share's heaps from expired ones.
    """

    # Defaults stand here and not in __init__: an event more or less a microsecond is what the clock's speed hangs on.
    left = 0.0
    rate = 0.0
    since_s = 0.0
    band: Band | None = None
    goal: float | None = None
    due_s = math.nan
    due_clock = math.nan

    def __init__(self, env: simpy.Environment, order: int) -> None:
        self.env = env
        self.callbacks: list[Callable[[simpy.Event], None]] | None = []
        self.order = order

    def settle(self, now_s: float) -> None:
        """Bring `left` forward to now."""
        if now_s != self.since_s:
            self.left = max(0.0, self.left - self.rate * (now_s - self.since_s))
            self.since_s = now_s

    def finish(self) -> None:
        """Act on the end of the work. A share calls this once, after the demand has left it."""
        raise NotImplementedError


class Band:
    """The demands of one limit: all of them at their limit (capped), or all at the level of the share (fair).

    `fresh` demands were never slowed and end at times of their own. `slowed` is a heap by goal; its first demand is
    always alive, the others may have left. Goals are readings of the band's clock, the amount that each slowed demand
    has received. That clock read `clock` at `anchor`: a time while the band is capped, a reading of the share's fair
    clock while it is fair.
    """

    __slots__ = ("anchor", "clock", "fair", "fresh", "in_capped", "in_fair", "limit", "num", "slowed", "units")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.units = units(limit)
        self.num = 0
        self.fair = False
        self.fresh: dict[Demand, None] = {}
        self.slowed: list[tuple[float, int, Demand]] = []
        self.clock = 0.0
        self.anchor = 0.0
        self.in_capped = False  # has an entry, maybe an expired one, in the share's heap of capped bands
        self.in_fair = False

    def reading(self, now_s: float, fair_clock: float) -> float:
        """Return what the band's clock shows now."""
        return self.clock + (fair_clock - self.anchor if self.fair else self.limit * (now_s - self.anchor))

    def turn_fair(self, now_s: float, fair_clock: float) -> None:
        """Go from capped to fair; every fresh demand becomes a slowed one."""
        if self.slowed:
            self.slowed[0][2].due_s = math.nan
            self.clock = self.reading(now_s, fair_clock)
        self.fair = True
        self.anchor = fair_clock
        for demand in self.fresh:
            demand.due_s = math.nan
            self.slow(demand, now_s, fair_clock)
        self.fresh.clear()

    def turn_capped(self, now_s: float, fair_clock: float) -> None:
        """Go from fair to capped."""
        self.slowed[0][2].due_clock = math.nan
        self.clock = self.reading(now_s, fair_clock)
        self.fair = False
        self.anchor = now_s

    def slow(self, demand: Demand, now_s: float, fair_clock: float) -> None:
        """Take a demand among the slowed ones of a fair band."""
        demand.settle(now_s)
        slowed = self.slowed
        if slowed:
            head = slowed[0][2]
            demand.goal = goal = self.reading(now_s, fair_clock) + demand.left
            heappush(slowed, (goal, demand.order, demand))
            if slowed[0][2] is demand:
                head.due_clock = math.nan
        else:
            # A clock that starts from zero keeps a lone demand's end as exact as its amount.
            self.clock = 0.0
            self.anchor = fair_clock
            demand.goal = demand.left
            slowed.append((demand.left, demand.order, demand))

    def remove(self, demand: Demand) -> None:
        """Take out a demand that is done or given up."""
        slowed = self.slowed
        if demand.goal is None:
            del self.fresh[demand]
        elif slowed[0][2] is demand:
            heappop(slowed)
            while slowed and not self._alive(slowed[0]):
                heappop(slowed)
        elif len(slowed) > 2 * self.num + _FEW:
            slowed[:] = [entry for entry in slowed if self._alive(entry) and entry[2] is not demand]
            heapify(slowed)
        demand.band = demand.goal = None
        demand.due_s = demand.due_clock = math.nan
        self.num -= 1

    def demands(self) -> list[Demand]:
        """Return the demands of the band."""
        return [*self.fresh, *(entry[2] for entry in self.slowed if self._alive(entry))]

    def _alive(self, entry: tuple[float, int, Demand]) -> bool:
        return entry[2].band is self and entry[2].goal == entry[0]
