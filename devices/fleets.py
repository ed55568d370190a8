"""Fleets: which device and which network each client has, as arrays.

A client's draws are row `client` of one matrix of uniform numbers. They depend on the generator and on the client's
number alone: giving one client another device or network, or adding clients at the end, changes no other's numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from devices.networks import NUM_DRAWS, Floats, NetworkProfile, Route
from devices.problems import InputError, Problem
from devices.profiles import DeviceProfile, Provenance

NUM_COLUMNS = 2 + 2 * NUM_DRAWS
"""Uniform numbers of one client: its device, its route, the draws of its network and of the one that it goes via."""

MAX_CLIENTS = 10_000_000
"""Clients of a fleet; their draws take about a gigabyte."""

T = TypeVar("T")


class Profiles(Protocol):
    """What a fleet looks up: a `Catalogue`, or whatever a test has in its place."""

    def device(self, name: str) -> DeviceProfile:
        """Return a device."""

    def network(self, name: str) -> NetworkProfile:
        """Return a network."""

    def fleet(self, name: str) -> "FleetMixture":
        """Return a mixture."""


@dataclass(frozen=True, kw_only=True)
class FleetEntry:
    """`count` clients with one device, on one network and, where `via` is given, through another."""

    device: str
    network: str
    via: str | None = None
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class DeviceShare:
    """Share of a mixture's clients that have a device."""

    device: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class RouteShare:
    """Share of a mixture's clients that are on a network, and the network that they go via."""

    network: str
    via: str | None
    weight: float


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """How devices slow down when they get hot: after a time, to a share of their speed, which is Beta over the clients.

    Attributes:
        after_s: Busy time until the device slows down.
        mean_frac: Mean of the share of the speed that is left.
        low_frac: Least share.
        high_frac: Largest share.
    """

    after_s: float
    mean_frac: float
    low_frac: float
    high_frac: float


@dataclass(frozen=True, kw_only=True)
class FleetMixture:
    """A population that clients are drawn from; device and network are independent.

    Attributes:
        id: The catalogue's name of the fleet.
        label: Free text.
        devices: Shares, of sum 1.
        networks: Shares, of sum 1.
        availability: Id of the availability profile that suits it.
        compute_jitter_ln_sigma: Standard deviation of the logarithm of a step's compute time, from step to step.
        throttle: How its devices slow down with heat; None where they do not.
        unusable: Why no client can be drawn from it; None where one can.
        notes: Free text of the catalogue.
        provenance: Origin of the shares and of each other number.
    """

    id: str
    label: str
    devices: tuple[DeviceShare, ...]
    networks: tuple[RouteShare, ...]
    availability: str
    compute_jitter_ln_sigma: float
    throttle: Throttle | None
    unusable: str | None
    notes: str
    provenance: dict[str, Provenance]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fleet:
    """Clients 0..N-1 as arrays of length N; tables hold each device and each route once.

    Attributes:
        device_table: The devices that occur.
        device_index: Each client's position in `device_table`.
        network_table: The routes that occur.
        network_index: Each client's position in `network_table`.
        downlink_bytes_per_s: Rate from the server to each client.
        uplink_bytes_per_s: Rate from each client to the server.
        latency_s: One way, half a round trip.
        mixture: What the clients were drawn from; None where they were listed.
    """

    device_table: tuple[DeviceProfile, ...]
    device_index: NDArray[np.unsignedinteger[Any]]
    network_table: tuple[Route, ...]
    network_index: NDArray[np.unsignedinteger[Any]]
    downlink_bytes_per_s: Floats
    uplink_bytes_per_s: Floats
    latency_s: Floats
    mixture: FleetMixture | None = None

    def __len__(self) -> int:
        return len(self.device_index)

    def device(self, client: int) -> DeviceProfile:
        """Return a client's device."""
        return self.device_table[int(self.device_index[client])]

    def network(self, client: int) -> Route:
        """Return a client's route to the server."""
        return self.network_table[int(self.network_index[client])]


def explicit_fleet(entries: Sequence[FleetEntry], catalogue: Profiles, rng: np.random.Generator) -> Fleet:
    """Return the clients of a list, in its order; spreads of their networks are drawn for each client.

    Raises:
        InputError: The list is empty, a count is below 1, an id is unknown or a network unusable, or there are more
            than ten million clients; all of them are told, with keys such as `clients.0.device`.
    """
    problems = [] if entries else [Problem("a fleet needs at least one client", key="clients")]
    devices: dict[str, DeviceProfile] = {}
    routes: dict[tuple[str, str | None], Route] = {}
    for position, entry in enumerate(entries):
        key = f"clients.{position}"
        problems.extend(_count_problems(entry.count, f"{key}.count"))
        device = _found(catalogue.device, entry.device, f"{key}.device", problems)
        route = _route(entry.network, entry.via, catalogue, key, problems)
        if device and route:
            devices[entry.device] = device
            routes[entry.network, entry.via] = route
    counts = [entry.count for entry in entries]
    problems = problems or _count_problems(sum(counts), "clients")
    if problems:
        raise InputError(*problems)
    device_position = {name: position for position, name in enumerate(devices)}
    route_position = {name: position for position, name in enumerate(routes)}
    return _fleet(
        tuple(devices.values()),
        np.repeat([device_position[entry.device] for entry in entries], counts),
        tuple(routes.values()),
        np.repeat([route_position[entry.network, entry.via] for entry in entries], counts),
        rng.random((sum(counts), NUM_COLUMNS)),
    )


def mixture_fleet(name: str, count: int, catalogue: Profiles, rng: np.random.Generator) -> Fleet:
    """Return clients drawn independently from a mixture of the catalogue.

    Raises:
        InputError: The mixture is unknown or unusable or the count is not from 1 to ten million, with the keys
            `mixture` and `count`; or as `members`.
    """
    problems = _count_problems(count, "count")
    mixture = _found(catalogue.fleet, name, "mixture", problems)
    if mixture is None or problems:
        raise InputError(*problems)
    devices, routes = members(mixture, catalogue)
    uniform = rng.random((count, NUM_COLUMNS))
    return _fleet(
        devices,
        _choice([share.weight for share in mixture.devices], uniform[:, 0]),
        routes,
        _choice([share.weight for share in mixture.networks], uniform[:, 1]),
        uniform,
        mixture=mixture,
    )


def members(mixture: FleetMixture, catalogue: Profiles) -> tuple[tuple[DeviceProfile, ...], tuple[Route, ...]]:
    """Return the devices and the routes of a mixture, in its order.

    Raises:
        InputError: The mixture cannot be used (key `mixture`), or a member is unknown or cannot be used; all of them
            are told, with keys of the mixture's file such as `devices.0.device`.
    """
    if mixture.unusable:
        message = f"fleet '{mixture.id}' cannot be used: {mixture.unusable}"
        raise InputError(Problem(message, key="mixture", value=mixture.id))
    problems: list[Problem] = []
    devices = [
        _found(catalogue.device, share.device, f"devices.{position}.device", problems)
        for position, share in enumerate(mixture.devices)
    ]
    routes = [
        _route(share.network, share.via, catalogue, f"networks.{position}", problems)
        for position, share in enumerate(mixture.networks)
    ]
    if problems:
        raise InputError(*problems)
    return tuple(device for device in devices if device), tuple(route for route in routes if route)


def _count_problems(count: int, key: str) -> list[Problem]:
    if 1 <= count <= MAX_CLIENTS:
        return []
    return [Problem(f"expected 1 to {MAX_CLIENTS:,} clients, got {count:,}", key=key, value=count)]


def _found(look_up: Callable[[str], T], name: str, key: str, problems: list[Problem]) -> T | None:
    """Return what a name stands for, or None with its problem noted under a key."""
    try:
        return look_up(name)
    except InputError as error:
        problems.extend(Problem(p.message, p.file, p.line, p.key or key, p.value) for p in error.problems)
        return None


def _route(network: str, via: str | None, catalogue: Profiles, key: str, problems: list[Problem]) -> Route | None:
    """Return a route whose networks can be used, or None with the problems noted."""

    def usable(name: str) -> NetworkProfile:
        profile = catalogue.network(name)
        profile.spreads()
        return profile

    first = _found(usable, network, f"{key}.network", problems)
    second = None if via is None else _found(usable, via, f"{key}.via", problems)
    return None if first is None or (via is not None and second is None) else Route(network=first, via=second)


def _choice(weights: Sequence[float], uniform: Floats) -> NDArray[np.intp]:
    """Return, for each uniform number in [0, 1), the position of the weight in whose part of [0, 1) it falls."""
    bounds = np.cumsum(weights)
    return np.searchsorted(bounds[:-1] / bounds[-1], uniform, side="right")


def _fleet(
    devices: tuple[DeviceProfile, ...],
    device_index: NDArray[np.integer[Any]],
    routes: tuple[Route, ...],
    route_index: NDArray[np.integer[Any]],
    uniform: Floats,
    *,
    mixture: FleetMixture | None = None,
) -> Fleet:
    """Return the fleet with each client's rates and latency drawn from its row of uniform numbers."""
    downlink, uplink, latency = (np.empty(len(uniform)) for _ in range(3))
    for position, route in enumerate(routes):
        clients = np.flatnonzero(route_index == position)
        downlink[clients], uplink[clients], latency[clients] = route.at(uniform[clients, 2:])
    arrays = (
        device_index.astype(np.min_scalar_type(len(devices))),
        route_index.astype(np.min_scalar_type(len(routes))),
        downlink,
        uplink,
        latency,
    )
    for array in arrays:
        array.flags.writeable = False
    return Fleet(
        device_table=devices,
        device_index=arrays[0],
        network_table=routes,
        network_index=arrays[1],
        downlink_bytes_per_s=downlink,
        uplink_bytes_per_s=uplink,
        latency_s=latency,
        mixture=mixture,
    )
