"""Max-min fair rates on any set of routes, and the transfers that need them.

Where routes meet at more than one link (cells between clients and server, several transfers of one client on its own
link) there is no single level. The rates follow from filling all links progressively, bottleneck by bottleneck
(Bertsekas & Gallager 1992, section 6.5.2). A weight of w makes a transfer count as w transfers.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

from simulator.network.alarm import Alarm
from simulator.network.share import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import simpy

    from simulator.network.fluid import Link, Network, Transfer

Crossings: TypeAlias = "Mapping[Link, list[Transfer]]"


def crossings(transfers: Iterable[Transfer]) -> Crossings:
    """Return which transfers cross each link: those that cross it twice are named twice."""
    found: dict[Link, list[Transfer]] = {}
    for transfer in transfers:
        for link in transfer.route:
            found.setdefault(link, []).append(transfer)
    return found


def max_min_rates(crossing: Crossings) -> dict[Transfer, float]:
    """Return the rate of each transfer in bytes a second: weighted max-min fair.

    No rate over its weight can be raised without lowering one that is not larger. Takes O(c log l) for c crossings of
    l links, and another O(log l) each time a link turns out to be a later bottleneck than it seemed.
    """
    rates: dict[Transfer, float] = {}
    free = {link: link.capacity_bytes_per_s for link in crossing}
    weight = {link: math.fsum(user.weight for user in users) for link, users in crossing.items()}
    num_open = {link: len(users) for link, users in crossing.items()}
    heap = [(free[link] / weight[link], place, link) for place, link in enumerate(crossing)]
    heapify(heap)
    while heap:
        seeming_level, place, link = heappop(heap)
        if not num_open[link]:
            continue
        level = free[link] / weight[link]
        if level > seeming_level:
            heappush(heap, (level, place, link))
            continue
        users = crossing[link]
        bound = [user for user in users if user not in rates]
        # Summed afresh: the running differences `free` and `weight` carry the rounding of every subtraction.
        taken = math.fsum(rates[user] for user in users if user in rates)
        level = max(0.0, link.capacity_bytes_per_s - taken) / math.fsum(user.weight for user in bound)
        for user in dict.fromkeys(bound):
            rates[user] = rate = level * user.weight
            for crossed in user.route:
                free[crossed] -= rate
                weight[crossed] -= user.weight
                num_open[crossed] -= 1
    return rates


def components(crossing: Crossings, transfers: Iterable[Transfer]) -> Iterator[list[Transfer]]:
    """Return the groups of transfers that meet, directly or through others; each by order."""
    found: dict[Transfer, None] = {}
    walked: set[Link] = set()
    for first in transfers:
        if first in found:
            continue
        found[first] = None
        group = [first]
        for transfer in group:  # it grows while it is walked
            for link in transfer.route:
                if link not in walked:
                    walked.add(link)
                    met = dict.fromkeys(user for user in crossing[link] if user not in found)
                    found.update(met)
                    group.extend(met)
        group.sort(key=lambda transfer: transfer.order)
        yield group


class Mesh:
    """Transfers that meet at more than one link: every change costs one solution for all of them.

    What changes at one time is solved together, after the other events of that time, so that a thousand simultaneous
    starts are not a thousand solutions. A transfer whose rate stays the same to the bit keeps its end to the bit.
    """

    def __init__(self, network: Network, env: simpy.Environment) -> None:
        self._network = network
        self._transfers: dict[Transfer, None] = {}
        self._alarm = Alarm(env, self._ring)
        self._changed = False

    def start(self, transfer: Transfer, now_s: float) -> None:
        """Take in a transfer."""
        transfer.due_s = math.inf  # until it has a rate
        self._transfers[transfer] = None
        self.change(now_s)

    def stop(self, transfer: Transfer, now_s: float) -> None:
        """Let a transfer go; what remains to do stands in its `left`, `since_s` and `rate`."""
        del self._transfers[transfer]
        self.change(now_s)

    def stop_all(self, now_s: float) -> list[Transfer]:
        """Let all transfers go and return them."""
        stopped = list(self._transfers)
        for transfer in stopped:
            self.stop(transfer, now_s)
        return stopped

    def change(self, now_s: float) -> None:
        """Ask for new rates at the end of this instant."""
        self._changed = True
        self._alarm.set(now_s)

    def catch_up(self, now_s: float) -> None:
        """End what is due now, give or take the rounding of times; to be done before a capacity changes."""
        self._end(now_s, now_s * ROUNDING)

    def _ring(self, now_s: float) -> None:
        if not self._end(now_s, 0.0) and self._changed:
            self._part(now_s)

    def _end(self, now_s: float, slack_s: float) -> bool:
        due = [transfer for transfer in self._transfers if transfer.due_s <= now_s + slack_s]
        done = sorted(due, key=lambda transfer: transfer.order)
        for transfer in done:
            self.stop(transfer, now_s)
            transfer.finish()
        return bool(done)

    def _part(self, now_s: float) -> None:
        """Hand back what no longer meets at several links, and give new rates to the rest."""
        crossing = crossings(self._transfers)
        groups = list(components(crossing, self._transfers))
        kept = next((group for group in groups if not _is_star(group, crossing)), None)
        for group in groups:
            if group is not kept:
                for transfer in group:
                    self.stop(transfer, now_s)
                self._network.readmit(group, now_s)
        self._changed = False
        self._solve(crossing if groups == [kept] else crossings(self._transfers), now_s)

    def _solve(self, crossing: Crossings, now_s: float) -> None:
        for transfer, rate in max_min_rates(crossing).items():
            if rate != transfer.rate:
                transfer.settle(now_s)
                transfer.rate = rate
            transfer.due_s = transfer.since_s + transfer.left / rate if rate else math.inf
        self._alarm.set(min((transfer.due_s for transfer in self._transfers), default=math.inf))


def _is_star(transfers: Iterable[Transfer], crossing: Crossings) -> bool:
    """Tell whether transfers of equal weight meet at one link at most, which each crosses once."""
    met = {link for transfer in transfers for link in transfer.route if len(crossing[link]) > 1}
    return len(met) <= 1 and all(
        transfer.weight == 1.0 and len(set(transfer.route)) == len(transfer.route) for transfer in transfers
    )
