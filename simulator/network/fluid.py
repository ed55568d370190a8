"""Messages as fluid: transfers share links max-min fairly, at every moment.

A transfer first pays its latency, which takes no capacity, and then moves its bytes over all links of its route at
once, at one rate. The rates of all transfers are max-min fair (SimGrid's CM02 model, Casanova & Marchal 2002), anew
whenever a transfer starts, ends or is cancelled and whenever a link changes its capacity. There are no packets, no TCP
slow start and no losses.

Half duplex is one link in the routes of both directions; a cell is a link in the routes of all its clients.

Two ways of computing give the same rates. Transfers that meet at one link only, each with links of its own besides (the
star: many clients, one server), are a `Share`: O(log n) expected for each event. All others are a `Mesh`, solved anew
for every change. Which one it is follows from the transfers under way, group by group.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import count, pairwise

import simpy

from simulator.network.alarm import Alarm
from simulator.network.bands import Demand
from simulator.network.maxmin import Mesh
from simulator.network.share import Share


class Link:
    """A link, or one direction of it, that transfers of one network share.

    Args:
        capacity_bytes_per_s: Above zero.
        profile: Points (time_s, capacity in bytes/s) by rising time: from then on the link has that capacity, which
            may be zero.

    Raises:
        ValueError: The capacity is not finite and above zero, or the points are not finite, out of order or negative.
    """

    __slots__ = (
        "_capacities",
        "_times_s",
        "alarm",
        "capacity_bytes_per_s",
        "group",
        "num_transfers",
        "star",
        "user",
        "varies",
    )

    def __init__(self, capacity_bytes_per_s: float, profile: Iterable[tuple[float, float]] = ()) -> None:
        points = [(float(time_s), float(capacity)) for time_s, capacity in profile]
        if not 0.0 < capacity_bytes_per_s < math.inf:
            raise ValueError(f"a link needs a finite capacity above 0 bytes/s, got {capacity_bytes_per_s!r}")
        if not all(math.isfinite(time_s) and 0.0 <= capacity < math.inf for time_s, capacity in points):
            raise ValueError(f"a bandwidth profile needs finite times and capacities of at least 0, got {points!r}")
        if any(later[0] < earlier[0] for earlier, later in pairwise(points)):
            raise ValueError(f"the times of a bandwidth profile must rise, got {points!r}")
        self.capacity_bytes_per_s = float(capacity_bytes_per_s)
        self._times_s = [time_s for time_s, _ in points]
        self._capacities = [self.capacity_bytes_per_s, *(capacity for _, capacity in points)]
        self.varies = bool(points)
        # What the network knows of it: its transfers and who computes their rates.
        self.num_transfers = 0
        self.group: Star | Mesh | None = None
        self.star: Star | None = None  # that meets here
        self.user: Transfer | None = None  # the latest; the only one where a star has a link for one transfer
        self.alarm: Alarm | None = None  # rings at the next point of the profile while there are transfers

    def take_capacity_of(self, now_s: float) -> float:
        """Set the capacity to that of a time and return when it changes next (infinity: never again)."""
        num_past = bisect_right(self._times_s, now_s)
        self.capacity_bytes_per_s = self._capacities[num_past]
        return self._times_s[num_past] if num_past < len(self._times_s) else math.inf


class Star(Share):
    """Transfers that meet at one link, the hub."""

    def __init__(self, env: simpy.Environment, hub: Link) -> None:
        super().__init__(env, hub.capacity_bytes_per_s)
        self.hub = hub


class Transfer(Demand):
    """One message under way: an event that fires with the bytes delivered when it has ended."""

    def __init__(self, network: "Network", order: int, route: Sequence[Link], num_bytes: float, weight: float) -> None:
        super().__init__(network.env, order, float(num_bytes))
        self._network = network
        self.route = route
        self.num_bytes = num_bytes
        self.weight = weight
        self.under_way = False  # latency paid, bytes moving
        self.due_s = math.inf  # its end as far as known, where a mesh computes it

    def cancel(self) -> None:
        """Drop the message now; the event fires with the bytes delivered so far. Does nothing once it has ended."""
        if not self.triggered:
            if self.under_way:
                self._network.stop(self)
            self.succeed(self.num_bytes - self.left)

    def finish(self) -> None:
        """Arrive (called by whoever computes the rates)."""
        for link in self.route:
            link.num_transfers -= 1
        self.succeed(self.num_bytes)


class Network:
    """All links of one simulated clock.

    Args:
        env: The simulated clock.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self._orders = count()

    def send(self, route: Sequence[Link], num_bytes: float, latency_s: float = 0.0, weight: float = 1.0) -> Transfer:
        """Start a message and return the event of its end.

        Alone on its links it ends at exactly `(now + latency_s) + num_bytes / capacity` in floats, with the capacity of
        the narrowest link. A message of zero bytes costs nothing, not even its latency: it is not sent.

        Args:
            route: The links that it crosses; one that is named twice carries it twice. Without links only the latency
                counts.
            num_bytes: Its size.
            latency_s: Paid before the first byte moves.
            weight: How many transfers it counts as where it shares a link.

        Raises:
            ValueError: A size or latency that is negative or not finite, a weight of zero or less.
        """
        if not (0.0 <= num_bytes < math.inf and 0.0 <= latency_s < math.inf and 0.0 < weight < math.inf):
            raise ValueError(
                f"cannot send num_bytes={num_bytes!r} with latency_s={latency_s!r} and weight={weight!r}: "
                "bytes and latency must be finite and at least 0, the weight finite and above 0"
            )
        transfer = Transfer(self, next(self._orders), route, num_bytes, weight)
        if not num_bytes:
            transfer.succeed(num_bytes)
        elif latency_s:
            self.env.timeout(latency_s, transfer).callbacks.append(self._arrive)
        else:
            self._begin(transfer)
        return transfer

    def stop(self, transfer: Transfer) -> None:
        """Take a transfer off its links; what remains to send stands in its `left`."""
        now_s = self.env.now
        group = transfer.route[0].group
        assert group is not None, "the transfer is not under way"
        group.stop(transfer, now_s)
        transfer.settle(now_s)
        _leave(transfer)

    def readmit(self, transfers: Sequence[Transfer], now_s: float) -> None:
        """Find the groups anew for transfers that their group has let go."""
        for transfer in transfers:
            _leave(transfer)
            for link in transfer.route:
                link.user = None
        for transfer in transfers:
            self._admit(transfer, now_s)

    def _arrive(self, latency: simpy.Event) -> None:
        transfer = latency.value
        if not transfer.triggered:  # not cancelled meanwhile
            self._begin(transfer)

    def _begin(self, transfer: Transfer) -> None:
        if transfer.route:
            transfer.since_s = now_s = self.env.now
            transfer.under_way = True
            self._admit(transfer, now_s)
        else:
            transfer.succeed(transfer.num_bytes)

    # ---- groups

    def _admit(self, transfer: Transfer, now_s: float) -> None:
        """Put a transfer into the group that it belongs to: a new one, one that exists, or several that become one."""
        hub: Link | None = None
        meshed = transfer.weight != 1.0
        for link in transfer.route:
            if link.num_transfers:
                meshed = meshed or hub is not None
                hub = link
            elif link.user is transfer:
                meshed = True  # it crosses this link twice
            elif link.varies:
                self._take_capacity(link, now_s)
            link.user = transfer  # seen
        if meshed or (hub is not None and hub.group is not hub.star and not self._move_lone(hub, now_s)):
            self._enter_mesh(transfer, self._merge(transfer.route, now_s), now_s)
        else:
            self._enter_star(transfer, hub or _likely_hub(transfer.route), now_s)

    def _enter_star(self, transfer: Transfer, hub: Link, now_s: float) -> None:
        star = hub.star
        if star is None:
            star = hub.star = Star(self.env, hub)
        limit = math.inf
        for link in transfer.route:
            link.num_transfers += 1
            link.group = star
            link.user = transfer
            if link is not hub and link.capacity_bytes_per_s < limit:
                limit = link.capacity_bytes_per_s
        star.start(transfer, limit, now_s)

    def _enter_mesh(self, transfer: Transfer, mesh: Mesh, now_s: float) -> None:
        for link in transfer.route:
            link.num_transfers += 1
            link.group = mesh
        mesh.start(transfer, now_s)

    def _move_lone(self, hub: Link, now_s: float) -> bool:
        """Make a link the hub of the one transfer on it, if that meets no other; return whether it does not."""
        group = hub.group
        if not isinstance(group, Star) or group.num > 1:
            return False
        (lone,) = group.stop_all(now_s)
        group.hub.star = None
        _leave(lone)
        self._enter_star(lone, hub, now_s)
        return True

    def _merge(self, route: Sequence[Link], now_s: float) -> Mesh:
        """Make one mesh of all groups that a route meets."""
        groups = dict.fromkeys(link.group for link in route if link.num_transfers and link.group is not None)
        mesh = next((group for group in groups if isinstance(group, Mesh)), None) or Mesh(self, self.env)
        for group in groups:
            if group is not mesh:
                for transfer in group.stop_all(now_s):
                    _leave(transfer)
                    self._enter_mesh(transfer, mesh, now_s)
        return mesh

    # ---- capacities

    def _take_capacity(self, link: Link, now_s: float) -> None:
        """Give a link the capacity that its profile has for now, and wait for the next point."""
        next_s = link.take_capacity_of(now_s)
        if link.star is not None:
            link.star.set_capacity(link.capacity_bytes_per_s, now_s)
        if link.alarm is None:
            link.alarm = Alarm(self.env, partial(self._change_capacity, link))
        link.alarm.set(next_s)

    def _change_capacity(self, link: Link, now_s: float) -> None:
        group, user = link.group, link.user
        if not link.num_transfers or group is None or user is None:
            return  # nobody to tell: the next transfer takes the capacity of its time
        group.catch_up(now_s)
        self._take_capacity(link, now_s)
        if isinstance(group, Mesh):
            group.change(now_s)
        elif group is not link.star and link.num_transfers:
            group.stop(user, now_s)
            _leave(user)
            self._enter_star(user, group.hub, now_s)


def _leave(transfer: Transfer) -> None:
    for link in transfer.route:
        link.num_transfers -= 1


def _likely_hub(route: Sequence[Link]) -> Link:
    """Return where a transfer will probably meet others: where its links met before, or else at the widest."""
    for link in route:
        if link.star is not None:
            return link
    return max(route, key=lambda link: link.capacity_bytes_per_s)
