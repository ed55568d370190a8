"""One capacity, shared max-min by demands that each have a limit of their own.

The rate of every demand is the smaller of its limit and one *level*, and the level is as high as the capacity allows
(water-filling; Bertsekas & Gallager 1992, section 6.5.2). A server's link shared by clients with links of their own is
such a share, and so are the cores of a processor-sharing server, of which a job can use one at most.

Demands of equal limit form a *band*: they always progress at the same rate, so a band is either *capped* (at its limit)
or *fair* (at the level) as a whole. Bands are ordered by limit on both sides of the level, and a change moves only
those that the level passes. What fair demands receive is read from one clock that counts the amount given to each.
An event costs O(log n), plus O(log n) for each band that the level passes: expected O(1) bands, all of them in the
worst case. The first slow-down of a demand costs another O(log n), once.

Exactness: limits are summed as integers in units of 2**-64, so the level never drifts and no band flutters around it.
A demand that was never slowed ends at exactly `since_s + left / limit` in floats, whatever happens around it. The clock
of the fair demands is a compensated sum that restarts from zero whenever nothing is slowed. Ties are FIFO.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Final

import simpy

from simulator.bands import Band, Demand, quotient, units
from simulator.clock import Alarm

ROUNDING: Final = 1e-12
"""Relative difference of two times that count as one where a capacity changes."""

_FEW: Final = 128  # below this many leftovers, tidying up is not worth its time
_by_order = attrgetter("order")


class Share:
    """A capacity and the demands on it at present, `num` of them.

    Args:
        env: The simulated clock.
        capacity: Amount a second that all demands together may take; at zero everything stalls.
    """

    def __init__(self, env: simpy.Environment, capacity: float) -> None:
        self.num = 0
        self._env = env
        self._alarm = Alarm(env, self._ring)
        self._capacity_units = units(capacity)
        self._spare_units = self._capacity_units  # what the capped bands leave to the fair ones
        self._bands: dict[float, Band] = {}
        self._capped: list[tuple[float, Band]] = []  # heap by falling limit
        self._fair: list[tuple[float, Band]] = []  # heap by rising limit
        self._timed: list[tuple[float, int, Demand]] = []  # heap of the ends at a known time
        self._clocked: list[tuple[float, int, Demand]] = []  # heap of the fair bands' next ends, by the fair clock
        self._num_fair = 0
        self._level = 0.0
        self._clock = 0.0  # the fair clock when it was read last: amount given to each fair demand
        self._carry = 0.0  # what rounding has kept from the fair clock
        self._read_s = 0.0
        self._clock_due_s = math.inf

    def start(self, demand: Demand, limit: float) -> None:
        """Begin to serve a demand at a rate of at most its limit (zero: it stalls; infinity: no limit of its own)."""
        now_s = self._env.now
        self._read_clock(now_s)
        band = self._bands.get(limit)
        if band is None:
            band = self._new_band(limit)
        if not band.num:
            self._enlist(band, fair=band.units * (self._num_fair or 1) > self._spare_units)
        band.num += 1
        self.num += 1
        if demand.rate != limit:
            demand.settle(now_s)
            demand.rate = limit
        demand.band = band
        if band.fair:
            self._num_fair += 1
            band.slow(demand, now_s, self._clock)
            self._queue_next(band)
        else:
            self._spare_units -= band.units
            band.fresh[demand] = None
            demand.due_s = due_s = demand.since_s + demand.left / limit if limit else math.inf
            heappush(self._timed, (due_s, demand.order, demand))
        if len(self._timed) + len(self._clocked) > 4 * self.num + _FEW:
            self._tidy()
        self._settle(now_s)

    def stop(self, demand: Demand) -> None:
        """Serve a demand no longer; what remains to do stands in its `left`, `since_s` and `rate`."""
        now_s = self._env.now
        self._read_clock(now_s)
        self._withdraw(demand, now_s)
        self._settle(now_s)

    def stop_all(self) -> list[Demand]:
        """Stop every demand and return them by order."""
        now_s = self._env.now
        self._read_clock(now_s)
        demands = sorted((demand for band in self._bands.values() for demand in band.demands()), key=_by_order)
        for demand in demands:
            self._withdraw(demand, now_s)
        self._settle(now_s)
        return demands

    def set_capacity(self, capacity: float) -> None:
        """Change the capacity from now on."""
        now_s = self._env.now
        self._read_clock(now_s)
        before = self._capacity_units
        self._capacity_units = units(capacity)
        self._spare_units += self._capacity_units - before
        self._settle(now_s)

    def catch_up(self) -> None:
        """End what is due now, give or take the rounding of times; to be done before a capacity changes.

        A demand that ends at the very moment when the capacity goes to zero must not wait for its last 1e-10 bytes.
        """
        now_s = self._env.now
        until_s = now_s * (1.0 + ROUNDING)
        if self._alarm.due_s <= until_s:
            self._end(now_s, until_s)

    def _ring(self) -> None:
        now_s = self._env.now
        self._end(now_s, now_s)

    def _end(self, now_s: float, until_s: float) -> None:
        """End everything that is due until a time."""
        self._read_clock(now_s)
        done: list[Demand] = []
        timed = self._timed
        while timed and timed[0][0] <= until_s:
            due_s, _, demand = heappop(timed)
            if demand.due_s == due_s:
                done.append(demand)
                self._remove(demand)
        if self._clock_due_s <= until_s:
            clocked = self._clocked
            # The first one is due by construction, whatever rounding says of the clock.
            reached = max(clocked[0][0], self._clock + self._level * (until_s - now_s))
            while clocked and clocked[0][0] <= reached:
                due_clock, _, demand = heappop(clocked)
                if demand.due_clock == due_clock:
                    done.append(demand)
                    self._remove(demand)
        self._settle(now_s)
        if len(done) > 1:
            done.sort(key=_by_order)
        for demand in done:
            demand.finish()

    # ---- the level

    def _settle(self, now_s: float) -> None:
        """Bring the level and the next wake-up up to date after any change."""
        if self._num_fair or self._spare_units < 0:
            self._find_level(now_s)
        self._clock_due_s = self._next_clocked_s(now_s) if self._num_fair else math.inf
        timed = self._timed
        while timed:
            due_s, _, demand = timed[0]
            if demand.due_s == due_s:
                self._alarm.set(min(due_s, self._clock_due_s))
                return
            heappop(timed)
        self._alarm.set(self._clock_due_s)

    def _next_clocked_s(self, now_s: float) -> float:
        """Return when the next fair demand ends if nothing changes until then."""
        clocked = self._clocked
        while clocked[0][2].due_clock != clocked[0][0]:
            heappop(clocked)
        if not self._level:
            return math.inf
        return now_s + max(0.0, clocked[0][0] - self._clock) / self._level

    def _find_level(self, now_s: float) -> None:
        """Move the bands that the level has passed to their side of it, and compute the level.

        A band of limit c is capped where c times the number of fair demands fits into what the capped bands leave to
        them. Integers make this exact: what has gone down in one call never goes up again in it.
        """
        clock = self._clock
        capped, fair = self._capped, self._fair
        while capped:
            band = capped[0][1]
            alive = band.num and not band.fair
            if alive and band.units * self._num_fair <= self._spare_units:
                break
            heappop(capped)
            band.in_capped = False
            if alive:
                band.turn_fair(now_s, clock)
                self._num_fair += band.num
                self._spare_units += band.units * band.num
                self._enlist(band, fair=True)
                self._queue_next(band)
        while fair:
            band = fair[0][1]
            alive = band.num and band.fair
            if alive and band.units * self._num_fair > self._spare_units:
                break
            heappop(fair)
            band.in_fair = False
            if alive:
                self._num_fair -= band.num
                self._spare_units -= band.units * band.num
                band.turn_capped(now_s, clock)
                self._enlist(band, fair=False)
                self._queue_next(band)
        if self._num_fair:
            self._level = quotient(self._spare_units, self._num_fair)
        else:
            self._clock = self._carry = 0.0
            self._clocked.clear()

    def _read_clock(self, now_s: float) -> None:
        """Bring the fair clock forward to now (compensated sum: Kahan 1965)."""
        if self._num_fair and now_s > self._read_s:
            gain = self._level * (now_s - self._read_s) + self._carry
            clock = self._clock + gain
            self._carry = gain - (clock - self._clock)
            self._clock = clock
        self._read_s = now_s

    # ---- bands and heaps

    def _new_band(self, limit: float) -> Band:
        if len(self._bands) > 2 * self.num + _FEW:
            self._bands = {key: band for key, band in self._bands.items() if band.num}
            for heap in (self._capped, self._fair):
                heap[:] = [entry for entry in heap if entry[1].num]
                heapify(heap)
        band = self._bands[limit] = Band(limit)
        return band

    def _enlist(self, band: Band, *, fair: bool) -> None:
        """Put a band on one side of the level; a band has one entry at most in each heap."""
        band.fair = fair
        if fair:
            if not band.in_fair:
                band.in_fair = True
                heappush(self._fair, (band.limit, band))
        elif not band.in_capped:
            band.in_capped = True
            heappush(self._capped, (-band.limit, band))

    def _queue_next(self, band: Band) -> None:
        """Give the slowed demand of a band that ends first its entry among the ends."""
        if not band.slowed:
            return
        goal, order, demand = band.slowed[0]
        if band.fair:
            if math.isnan(demand.due_clock):
                demand.due_clock = due = band.anchor + (goal - band.clock)
                heappush(self._clocked, (due, order, demand))
        elif math.isnan(demand.due_s):
            demand.due_s = due = band.anchor + max(0.0, goal - band.clock) / band.limit
            heappush(self._timed, (due, order, demand))

    def _withdraw(self, demand: Demand, now_s: float) -> None:
        """Take a demand out before its end."""
        band = demand.band
        if band is not None and demand.goal is not None:
            demand.left = max(0.0, demand.goal - band.reading(now_s, self._clock))
            demand.since_s = now_s
            demand.rate = self._level if band.fair else band.limit
        self._remove(demand)

    def _remove(self, demand: Demand) -> None:
        band = demand.band
        assert band is not None, "the demand is not on this share"
        if band.fair:
            self._num_fair -= 1
        else:
            self._spare_units += band.units
        self.num -= 1
        band.remove(demand)
        self._queue_next(band)

    def _tidy(self) -> None:
        """Drop expired entries that have not come up: cancelled demands could pile them up."""
        self._timed = [entry for entry in self._timed if entry[2].due_s == entry[0]]
        self._clocked = [entry for entry in self._clocked if entry[2].due_clock == entry[0]]
        heapify(self._timed)
        heapify(self._clocked)
