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
A demand that was never slowed ends at exactly `since_s + left / limit` in floats, whatever happens around it. Clocks of
slowed demands count integers too: what is little keeps all its digits beside what is much, however long they have run.
Ties are FIFO.
"""

from heapq import heapify, heappop, heappush
from math import inf
from operator import attrgetter
from typing import Final, TypeVar

import simpy

from simulator.network.alarm import Alarm
from simulator.network.bands import GRAIN, GRAINS, UNIT, Band, Demand, Entry, Goal, grains, units

ROUNDING: Final = 1e-12
"""Relative difference of two times that count as one where a capacity changes."""

_FEW: Final = 128  # fewer expired entries than this are not worth tidying up
_MANY: Final = 8192  # so many empty bands are kept: their clients will be back
_by_order = attrgetter("order")
AnyEntry = TypeVar("AnyEntry", Entry, Goal)


class Share:
    """A capacity and the demands on it at present, `num` of them.

    Args:
        env: The simulated clock.
        capacity: Amount a second that all demands together may take; at zero everything stalls.
    """

    def __init__(self, env: simpy.Environment, capacity: float) -> None:
        self.num = 0
        self._alarm = Alarm(env, self._end)
        self._capacity_units = units(capacity)
        self._spare_units = self._capacity_units  # what the capped bands leave to the fair ones
        self._bands: dict[float, Band] = {}
        self._capped: list[tuple[float, Band]] = []  # heap by falling limit; may hold bands that are not capped
        self._fair: list[tuple[float, Band]] = []  # heap by rising limit; may hold bands that are not fair
        self._timed: list[Entry] = []  # heap of the ends at a known time
        self._clocked: list[Goal] = []  # heap of the fair bands' next ends, by the fair clock
        self._num_fair = 0
        self._level = 0.0
        self._clock = 0  # the fair clock when it was read last: grains given to each fair demand
        self._read_s = 0.0
        self._clock_due_s = inf

    def start(self, demand: Demand, limit: float, now_s: float) -> None:
        """Begin to serve a demand at a rate of at most its limit (zero: it stalls; infinity: no limit of its own)."""
        if self._num_fair and now_s > self._read_s:
            self._read_clock(now_s)
        band = self._bands.get(limit) or self._new_band(limit)
        if not band.num:
            self._enlist(band, fair=band.units * (self._num_fair or 1) > self._spare_units)
        band.num += 1
        self.num += 1
        demand.band = band
        if demand.rate != limit:
            if demand.since_s != now_s:
                demand.settle(now_s)
            demand.rate = limit
        if band.fair:
            self._num_fair += 1
            if demand.since_s != now_s:
                demand.settle(now_s)
            first = band.slow(demand, self._clock)
            if first is not None:
                heappush(self._clocked, first)
        else:
            self._spare_units -= band.units
            band.fresh[demand] = None
            due_s = demand.since_s + demand.left / limit if limit else inf
            demand.entry = entry = (due_s, demand.order, demand)
            heappush(self._timed, entry)
        self._settle(now_s)

    def stop(self, demand: Demand, now_s: float) -> None:
        """Serve a demand no longer; what remains to do stands in its `left`, `since_s` and `rate`."""
        self._read_clock(now_s)
        self._withdraw(demand, now_s)
        self._settle(now_s)
        self._tidy()

    def stop_all(self, now_s: float) -> list[Demand]:
        """Stop every demand and return them by order."""
        self._read_clock(now_s)
        demands = sorted((demand for band in self._bands.values() for demand in band.demands()), key=_by_order)
        for demand in demands:
            self._withdraw(demand, now_s)
        self._settle(now_s)
        return demands

    def set_capacity(self, capacity: float, now_s: float) -> None:
        """Change the capacity from now on."""
        self._read_clock(now_s)
        before = self._capacity_units
        self._capacity_units = units(capacity)
        self._spare_units += self._capacity_units - before
        self._settle(now_s)

    def catch_up(self, now_s: float) -> None:
        """End what is due now, give or take the rounding of times; to be done before a capacity changes.

        A demand that ends at the very moment when the capacity goes to zero must not wait for its last 1e-10 bytes.
        """
        slack_s = now_s * ROUNDING
        if self._alarm.due_s <= now_s + slack_s:
            self._end(now_s, slack_s)

    def _end(self, now_s: float, slack_s: float = 0.0) -> None:
        """End everything that is due now or a slack later."""
        until_s = now_s + slack_s
        done: list[Demand] = []
        timed = self._timed
        while timed and timed[0][0] <= until_s:
            entry = heappop(timed)
            if entry is entry[2].entry:
                done.append(entry[2])
                self._remove(entry[2])
        if self._num_fair:
            self._read_clock(now_s)
            if self._clock_due_s <= until_s:
                clocked = self._clocked
                # The first one is due by construction, whatever rounding says of the clock.
                reached = max(clocked[0][0], self._clock + (grains(self._level * slack_s) if slack_s else 0))
                while clocked and clocked[0][0] <= reached:
                    entry = heappop(clocked)
                    if entry is entry[2].entry:
                        done.append(entry[2])
                        self._remove(entry[2])
        self._settle(now_s)
        if len(done) > 1:
            done.sort(key=_by_order)
        for demand in done:
            demand.finish()

    def _settle(self, now_s: float) -> None:
        """Bring the level and the next wake-up up to date after any change."""
        self._read_s = now_s
        self._clock_due_s = inf
        if self._num_fair or self._spare_units < 0:
            self._find_level(now_s)
        if not self._num_fair and self._clock:
            self._clock = 0
            self._clocked.clear()
        timed = self._timed
        while timed and timed[0] is not timed[0][2].entry:
            heappop(timed)
        if timed and timed[0][0] < self._clock_due_s:
            self._alarm.set(timed[0][0])
        else:
            self._alarm.set(self._clock_due_s)

    def _find_level(self, now_s: float) -> None:
        """Compute the level, and when the first of the fair demands ends at it."""
        capped, fair, num_fair = self._capped, self._fair, self._num_fair
        if (capped and capped[0][1].units * num_fair > self._spare_units) or (
            fair and fair[0][1].units * num_fair <= self._spare_units
        ):
            self._move_bands(now_s)
            num_fair = self._num_fair
        if num_fair:
            self._level = level = self._spare_units / num_fair * UNIT
            clocked = self._clocked
            while clocked[0] is not clocked[0][2].entry:
                heappop(clocked)
            to_do = clocked[0][0] - self._clock
            if to_do <= 0:
                self._clock_due_s = now_s
            elif level:
                self._clock_due_s = now_s + to_do * GRAIN / level

    def _move_bands(self, now_s: float) -> None:
        """Move the bands that the level has passed to their side of it.

        A band of limit c is capped where c times the number of fair demands fits into what the capped bands leave to
        them. Integers make this exact: what has gone down in one call never goes up again in it.
        """
        capped, fair = self._capped, self._fair
        while capped:
            band = capped[0][1]
            alive = band.num and not band.fair
            if alive and band.units * self._num_fair <= self._spare_units:
                break
            heappop(capped)
            band.in_capped = False
            if alive:
                self._num_fair += band.num
                self._spare_units += band.units * band.num
                band.turn_fair(now_s, self._clock)
                self._enlist(band, fair=True)
                self._queue_first(band)
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
                band.turn_capped(now_s, self._clock)
                self._enlist(band, fair=False)
                self._queue_first(band)
        self._tidy()

    def _read_clock(self, now_s: float) -> None:
        """Bring the fair clock forward to now."""
        if self._num_fair and now_s > self._read_s:
            self._clock += int(self._level * (now_s - self._read_s) * GRAINS)  # as `grains`, at every event
            self._read_s = now_s

    def _new_band(self, limit: float) -> Band:
        if len(self._bands) > 2 * self.num + _MANY:
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

    def _queue_first(self, band: Band) -> None:
        """Give the slowed demand of a band that ends first its entry among the ends."""
        goal, order, demand = band.slowed[0]
        if band.fair:
            demand.entry = reached = (band.anchor + (goal - band.clock), order, demand)
            heappush(self._clocked, reached)
        else:
            demand.entry = entry = (band.capped_s + max(0, goal - band.clock) * GRAIN / band.limit, order, demand)
            heappush(self._timed, entry)

    def _withdraw(self, demand: Demand, now_s: float) -> None:
        """Take a demand out before its end."""
        band = demand.band
        if band is not None and demand.place is not None:
            to_do = demand.place[0] - band.reading(now_s, self._clock)
            demand.left = min(max(0.0, to_do * GRAIN), demand.left)  # rounding must not make it more than it was
            demand.since_s = now_s
            demand.rate = self._level if band.fair else band.limit
        self._remove(demand)

    def _remove(self, demand: Demand) -> None:
        band = demand.band
        assert band is not None, "the demand is not on this share"
        self.num -= 1
        band.num -= 1
        if band.fair:
            self._num_fair -= 1
        else:
            self._spare_units += band.units
        demand.band = demand.entry = None
        if demand.place is None:
            del band.fresh[demand]
        elif band.drop(demand):
            self._queue_first(band)

    def _tidy(self) -> None:
        """Drop expired entries before they pile up: cancels and moves of bands leave them behind."""
        most = 2 * self.num + _FEW
        if len(self._timed) > most:
            _drop_expired(self._timed)
        if len(self._clocked) > most:
            _drop_expired(self._clocked)


def _drop_expired(heap: list[AnyEntry]) -> None:
    heap[:] = [entry for entry in heap if entry is entry[2].entry]
    heapify(heap)
