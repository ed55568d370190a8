"""Bandwidth over time: what a link can carry at a moment, and until when. Pure functions of the simulated time.

A course is piecewise constant and has no state that time changes, so nothing depends on who looks at it or when.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Protocol


class Course(Protocol):
    """A capacity over time."""

    def at(self, now_s: float) -> tuple[float, float]:
        """Return the capacity at a time in bytes/s, and when it may change next: later than that; infinity: never."""


class Recorded:
    """Points of a record: from each time on its rate holds.

    Args:
        before_bytes_per_s: until the first point; not used with a period, where the last point is before the first.
        times_s: rising, from 0; below the period.
        rates_bytes_per_s: one for each time.
        period_s: after which the record begins again; infinity: never.
    """

    def __init__(
        self,
        before_bytes_per_s: float,
        times_s: Sequence[float],
        rates_bytes_per_s: Sequence[float],
        period_s: float = math.inf,
    ) -> None:
        self._times_s, self._period_s = times_s, period_s
        first = before_bytes_per_s if period_s == math.inf else rates_bytes_per_s[-1]
        self._rates = (first, *rates_bytes_per_s)

    def at(self, now_s: float) -> tuple[float, float]:
        """Return the rate at a time, and when the next point comes."""
        start_s, end_s = (0.0, math.inf) if self._period_s == math.inf else piece(now_s, self._period_s)
        # Compared as the absolute times that are returned: a point is in the past at its own time, whatever rounding.
        num_past = bisect_right(self._times_s, now_s, key=lambda time_s: start_s + time_s)
        next_s = start_s + self._times_s[num_past] if num_past < len(self._times_s) else end_s
        return self._rates[num_past], next_s


class Wavering:
    """A rate that changes after every interval, counted from time 0.

    Args:
        rates: number of the interval -> rate in bytes/s, above 0.
        interval_s: its length.
    """

    def __init__(self, rates: Callable[[int], float], interval_s: float) -> None:
        self._rates, self._interval_s = rates, interval_s

    def at(self, now_s: float) -> tuple[float, float]:
        """Return the rate of the interval that a time falls into, and its end."""
        start_s, end_s = piece(now_s, self._interval_s)
        return self._rates(round(start_s / self._interval_s)), end_s


class Interrupted:
    """A course, or a constant rate, with outages in which nothing is carried.

    Args:
        within: what is interrupted.
        outages_s: from when until when; in order of time, not touching each other.
    """

    def __init__(self, within: Course | float, outages_s: Sequence[tuple[float, float]]) -> None:
        self._within, self._outages_s = within, outages_s
        self._ends_s = [end_s for _, end_s in outages_s]

    def at(self, now_s: float) -> tuple[float, float]:
        """Return 0 within an outage, else what is interrupted."""
        place = bisect_right(self._ends_s, now_s)
        start_s, end_s = self._outages_s[place] if place < len(self._outages_s) else (math.inf, math.inf)
        if start_s <= now_s:
            return 0.0, end_s
        rate, until_s = (self._within, math.inf) if isinstance(self._within, float) else self._within.at(now_s)
        return rate, min(until_s, start_s)


def piece(now_s: float, length_s: float) -> tuple[float, float]:
    """Return start and end of the piece of time that a time falls into, all pieces being of one length from 0 on.

    The times are multiples n * length in floats, and start <= now < end holds for those very floats.
    """
    number = int(now_s // length_s)
    while number * length_s > now_s:
        number -= 1
    while (number + 1) * length_s <= now_s:
        number += 1
    return number * length_s, (number + 1) * length_s
