"""Demands on a shared capacity, and the bands of those that have one limit: the bookkeeping of `share.py`."""

import math
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final, TypeAlias

import simpy

UNIT: Final = 2.0**-64
"""Amount a second in which limits are counted as whole numbers: those add up without rounding."""

GRAIN: Final = 2.0**-64
"""Amount in which what demands are given is counted as whole numbers: a small one beside much is as exact as alone."""

GRAINS: Final = 1 / GRAIN
"""So many make an amount of 1."""

_UNLIMITED: Final = 1 << 1200  # above every finite float in units
_FEW: Final = 32  # below this many leftovers, tidying up is not worth its time


def units(rate: float) -> int:
    """Return a rate as a whole number of `UNIT`, rounded down (exact for every float from 2**-12 on)."""
    if rate == math.inf:
        return _UNLIMITED
    numerator, denominator = rate.as_integer_ratio()
    return (numerator << 64) // denominator


def grains(amount: float) -> int:
    """Return an amount as a whole number of `GRAIN`, rounded down (exact for every float from 2**-12 on)."""
    return int(amount * GRAINS)


class Demand(simpy.Event):  # type: ignore[misc]
    """An amount that wants its part of a capacity; an event that fires when that has ended.

    `left` is what was to do at `since_s`, from when on it has progressed at `rate` a second. `order` breaks ties, the
    smaller first. The other fields belong to the share that serves it: its `band`, its valid `entry` among the share's
    ends if it has one, and its `place` among the slowed of its band, none while it was never slowed.
    """

    def __init__(self, env: simpy.Environment, order: int, amount: float) -> None:
        super().__init__(env)
        self.order = order
        self.left = amount
        self.rate = 0.0
        self.since_s = 0.0
        self.band: Band | None = None
        self.place: Goal | None = None
        self.entry: Entry | Goal | None = None

    def settle(self, now_s: float) -> None:
        """Bring `left` forward to now."""
        if now_s != self.since_s:
            self.left = max(0.0, self.left - self.rate * (now_s - self.since_s))
            self.since_s = now_s

    def finish(self) -> None:
        """Act on the end of the work. A share calls this once, after the demand has left it."""
        raise NotImplementedError


Entry: TypeAlias = tuple[float, int, Demand]
"""An entry of a heap of times: when the demand will be done, its order, the demand."""

Goal: TypeAlias = tuple[int, int, Demand]
"""An entry of a heap of readings: what a clock shows when the demand is done, in grains; its order, the demand."""


class Band:
    """The demands of one limit: all of them at their limit (capped), or all at the level of the share (fair).

    `fresh` demands were never slowed and end at times of their own. `slowed` is a heap by goal; its first demand is
    always alive, the others may have left. Goals are readings of the band's clock, the amount that each slowed demand
    has received, in grains. That clock read `clock` at `capped_s` if the band is capped, or when the share's fair clock
    read `anchor` if it is fair.
    """

    __slots__ = (
        "anchor",
        "capped_s",
        "clock",
        "fair",
        "fresh",
        "in_capped",
        "in_fair",
        "limit",
        "num",
        "slowed",
        "units",
    )

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.units = units(limit)
        self.num = 0
        self.fair = False
        self.fresh: dict[Demand, None] = {}
        self.slowed: list[Goal] = []
        self.clock = 0
        self.anchor = 0
        self.capped_s = 0.0
        self.in_capped = False  # has an entry, maybe an expired one, in the share's heap of capped bands
        self.in_fair = False

    def reading(self, now_s: float, fair_clock: int) -> int:
        """Return what the band's clock shows now."""
        return self.clock + (fair_clock - self.anchor if self.fair else grains(self.limit * (now_s - self.capped_s)))

    def turn_fair(self, now_s: float, fair_clock: int) -> None:
        """Go from capped to fair; every fresh demand becomes a slowed one. No entry of the band remains valid."""
        if self.slowed:
            self.slowed[0][2].entry = None
            self.clock = self.reading(now_s, fair_clock)
        self.fair = True
        self.anchor = fair_clock
        for demand in self.fresh:
            demand.settle(now_s)
            self.slow(demand, fair_clock)
            demand.entry = None
        self.fresh.clear()

    def turn_capped(self, now_s: float, fair_clock: int) -> None:
        """Go from fair to capped."""
        self.slowed[0][2].entry = None
        self.clock = self.reading(now_s, fair_clock)
        self.fair = False
        self.capped_s = now_s

    def slow(self, demand: Demand, fair_clock: int) -> Goal | None:
        """Take a demand among the slowed ones of a fair band; return its entry by the fair clock if it ends first."""
        slowed = self.slowed
        goal = int(demand.left * GRAINS)  # as `grains`, but of every message
        if not slowed:
            self.clock = 0
            self.anchor = fair_clock
            demand.place = place = (goal, demand.order, demand)
            slowed.append(place)
            demand.entry = entry = (fair_clock + goal, demand.order, demand)
            return entry
        first = slowed[0][2]
        goal += self.clock + fair_clock - self.anchor
        demand.place = place = (goal, demand.order, demand)
        heappush(slowed, place)
        if slowed[0][2] is first:
            return None
        first.entry = None
        demand.entry = entry = (self.anchor + (goal - self.clock), demand.order, demand)
        return entry

    def drop(self, demand: Demand) -> bool:
        """Take out a slowed demand that has left the band; return whether another one is now the first to end."""
        demand.place = None
        slowed = self.slowed
        if slowed[0][2] is demand:
            heappop(slowed)
            while slowed and not _alive(slowed[0]):
                heappop(slowed)
            return bool(slowed)
        if len(slowed) > 2 * self.num + _FEW:
            slowed[:] = filter(_alive, slowed)
            heapify(slowed)
        return False

    def demands(self) -> Iterator[Demand]:
        """Return the demands of the band."""
        yield from self.fresh
        for entry in filter(_alive, self.slowed):
            yield entry[2]


def _alive(entry: Goal) -> bool:
    return entry is entry[2].place
