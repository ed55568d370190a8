"""The links of a scenario, made of what its connections say: who meets whom, and where.

A client's way to the server leads over its own link, its cell's where it is in one, and the server's. Half duplex is
the wider direction's link in the routes of both directions, so that together they never exceed it.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TypeAlias

from devices.fleets import Fleet
from simulator.network.bandwidth import Course, Interrupted, Wavering
from simulator.network.bandwidth_file import SERVER
from simulator.network.connections import CONSTANT, Connections, ServerLinks, Variation
from simulator.network.fluid import Link

Route: TypeAlias = tuple[Link, ...]
Directions: TypeAlias = tuple[Route, Route]
"""The links of a part of the way, up and down."""


class VaryingLink(Link):
    """A link whose capacity follows a course.

    Args:
        nominal_bytes_per_s: what it is about.
        course: what it is when.
        now_s: where it starts.
    """

    __slots__ = ("_course", "nominal_bytes_per_s")

    def __init__(self, nominal_bytes_per_s: float, course: Course, now_s: float) -> None:
        super().__init__(nominal_bytes_per_s)
        self.nominal_bytes_per_s = nominal_bytes_per_s
        self._course = course
        self.varies = True
        self.take_capacity_of(now_s)

    def take_capacity_of(self, now_s: float) -> float:
        """Set the capacity to that of a time and return when it changes next (infinity: never again)."""
        self.capacity_bytes_per_s, next_s = self._course.at(now_s)
        return next_s


class Links:
    """Every client's way to the server. Keeps the links that clients share, and those that a file describes.

    Args:
        fleet: the clients' own connections.
        server: the server's.
        connections: how they are shared and vary.
        outages_s: from when until when nothing passes the server's connection; in order of time.
    """

    def __init__(
        self,
        fleet: Fleet,
        server: ServerLinks,
        connections: Connections = CONSTANT,
        outages_s: Sequence[tuple[float, float]] = (),
    ) -> None:
        self._fleet, self._server_latency_s, self._connections = fleet, server.latency_s, connections
        self._cells: dict[tuple[int, int], Directions] = {}
        self._recorded: dict[int, tuple[Link, Link]] = {}
        up, down = _server_links(server, connections, outages_s)
        self._up_server, self._down_server = _directions(up, down, half_duplex=connections.half_duplex_server)
        self._varying = [link for link in (up, down) if link.varies]
        if not (connections.half_duplex_server or self._varying):
            all_up, all_down = self._most_from_cells()
            if all_up <= up.capacity_bytes_per_s:
                self._up_server = ()
            if all_down <= down.capacity_bytes_per_s:
                self._down_server = ()

    def routes(self, client: int, round: int, now_s: float) -> tuple[Route, Route, float]:  # noqa: A002
        """Return a client's way up in a round, its way down and the latency of either in seconds.

        Its own links are made anew each time, unless a file describes them: nothing is kept of clients that are not at
        work.
        """
        latency_s = float(self._fleet.latency_s[client]) + self._server_latency_s
        up, down = self._own(client, round, now_s)
        _bring_up_to_date(self._varying, now_s)
        if not self._connections.half_duplex_clients and not self._connections.cells:
            return (up, *self._up_server), (*self._down_server, down), latency_s
        own_up, own_down = _directions(up, down, half_duplex=self._connections.half_duplex_clients)
        cell_up, cell_down = self._cell(client)
        return (*own_up, *cell_up, *self._up_server), (*self._down_server, *cell_down, *own_down), latency_s

    def forget_rates(self) -> None:
        """Forget who computes the rates of links that clients share, where nothing is under way."""
        for way in (self._up_server, self._down_server, *chain.from_iterable(self._cells.values())):
            for link in way:
                if not link.num_transfers:
                    link.star = None

    def _own(self, client: int, round: int, now_s: float) -> tuple[Link, Link]:  # noqa: A002
        """Return a client's own links up and down."""
        if client in self._recorded:
            links = self._recorded[client]
            _bring_up_to_date(links, now_s)
            return links
        uplink, downlink = self._fleet.uplink_bytes_per_s[client], self._fleet.downlink_bytes_per_s[client]
        trace, variation = self._connections.trace, self._connections.variation
        if trace is not None and (courses := trace.courses(client, float(downlink), float(uplink))):
            down, up = courses
            links = VaryingLink(float(uplink), up, now_s), VaryingLink(float(downlink), down, now_s)
            self._recorded[client] = links
            return links
        if variation is not None:
            return self._varied(variation, client, round, now_s)
        return Link(float(uplink)), Link(float(downlink))

    def _varied(self, variation: Variation, client: int, round: int, now_s: float) -> tuple[Link, Link]:  # noqa: A002
        """Return a client's own links where its rates vary."""
        route = int(self._fleet.network_index[client])
        session = variation.between(client, route, round)
        down = float(self._fleet.downlink_bytes_per_s[client]) * session.downlink
        up = float(self._fleet.uplink_bytes_per_s[client]) * session.uplink
        if not variation.within_sigma[route]:
            return Link(_whole(up)), Link(_whole(down))
        factors, interval_s = variation.within(client, route), variation.interval_s
        return (
            VaryingLink(up, Wavering(lambda number: _whole(up * factors.at(number).uplink), interval_s), now_s),
            VaryingLink(down, Wavering(lambda number: _whole(down * factors.at(number).downlink), interval_s), now_s),
        )

    def _cell(self, client: int) -> Directions:
        """Return the links of a client's cell; none where it is in none."""
        found = self._connections.cell_of(client)
        if found is None:
            return (), ()
        cells, number = found
        key = cells.first_client, number
        if key not in self._cells:
            up, down = Link(cells.uplink_bytes_per_s), Link(cells.downlink_bytes_per_s)
            self._cells[key] = _directions(up, down, half_duplex=cells.half_duplex)
        return self._cells[key]

    def _most_from_cells(self) -> tuple[float, float]:
        """Return what all cells together can send and receive in bytes/s; infinity where clients are in none.

        A server's link that they cannot fill has no part in any rate. Left out, each cell is a star of its own.
        """
        cells = self._connections.cells
        if not cells or cells[-1].first_client + cells[-1].num_clients * cells[-1].num_cells < len(self._fleet):
            return math.inf, math.inf
        return (
            math.fsum(one.num_cells * one.uplink_bytes_per_s for one in cells),
            math.fsum(one.num_cells * one.downlink_bytes_per_s for one in cells),
        )


def _server_links(
    server: ServerLinks, connections: Connections, outages_s: Sequence[tuple[float, float]]
) -> tuple[Link, Link]:
    """Return the server's links for what clients send and for what they receive."""
    up, down = server.uplink_bytes_per_s, server.downlink_bytes_per_s
    # What clients send is the downlink of the server's own connection, and of its rows in a file.
    courses = connections.trace.courses(SERVER, up, down) if connections.trace is not None else None
    if courses is None and not outages_s:
        return Link(up), Link(down)
    for_up, for_down = courses or (up, down)
    return (
        VaryingLink(up, Interrupted(for_up, outages_s), 0.0),
        VaryingLink(down, Interrupted(for_down, outages_s), 0.0),
    )


def _bring_up_to_date(links: Iterable[Link], now_s: float) -> None:
    """Give links that nobody uses the capacity of now; the network does so for the others."""
    for link in links:
        if not link.num_transfers:
            link.take_capacity_of(now_s)


def _directions(up: Link, down: Link, *, half_duplex: bool) -> Directions:
    """Return the routes over a link in both directions, from the two directions' own links."""
    if not half_duplex:
        return (up,), (down,)
    wide_up, wide_down = _nominal(up), _nominal(down)
    if wide_up == wide_down and not up.varies and not down.varies:
        return (up,), (up,)
    return ((up,), (down, up)) if wide_up > wide_down else ((up, down), (down,))


def _nominal(link: Link) -> float:
    """Return what decides which of two directions is the wider one, whatever they carry at the moment."""
    return link.nominal_bytes_per_s if isinstance(link, VaryingLink) else link.capacity_bytes_per_s


def _whole(bytes_per_s: float) -> float:
    """Return a rate in whole bytes/s, at least one: the last bit of exp, which differs between processors, goes."""
    return max(float(round(bytes_per_s)), 1.0)
