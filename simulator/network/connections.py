"""How the connections of a scenario are shared and vary, with every number in place; `links.py` makes links of it.

`docs/network.md` has the models and their formulas.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from devices.fleets import Fleet
from devices.problems import InputError, Problem
from devices.units import bytes_per_s_from_mbit_per_s
from simulator.data.csv_file import told_at
from simulator.draws import generator
from simulator.models import beside
from simulator.network.bandwidth_file import BandwidthTrace, read_bandwidths
from simulator.scenario import Scenario
from simulator.sections.network import CellSection

_PIECES_AT_ONCE: Final = 64  # intervals whose factors are drawn together


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerLinks:
    """The server's own connection, shared by all clients.

    `uplink` and `downlink` are seen from the clients: what they send passes through `uplink`.
    """

    uplink_bytes_per_s: float
    downlink_bytes_per_s: float
    latency_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """Equal cells of clients with consecutive numbers.

    Attributes:
        first_client: of the first of these cells.
        num_clients: in each cell; the last one may have fewer.
        num_cells: how many.
        uplink_bytes_per_s, downlink_bytes_per_s: what the clients of one cell have together.
        half_duplex: whether both directions share the faster one's capacity.
    """

    first_client: int
    num_clients: int
    num_cells: int
    uplink_bytes_per_s: float
    downlink_bytes_per_s: float
    half_duplex: bool


class Factors(NamedTuple):
    """By which a client's rates are multiplied."""

    downlink: float
    uplink: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """Random courses of rates: log-normal factors of mean 1, drawn from the seed, the client and the time alone.

    Both directions take theirs from normal scores with the correlation that a network's rates have over clients.

    Attributes:
        seed: of the fleet's draws.
        between_sigma: of a factor that holds for a round; standard deviation of its logarithm, as the next one.
        within_sigma: for each of the fleet's routes, of a factor that holds for an interval.
        correlation: for each of the fleet's routes.
        interval_s: an interval's length.
    """

    seed: int
    between_sigma: float
    within_sigma: tuple[float, ...]
    correlation: tuple[float, ...]
    interval_s: float

    def between(self, client: int, route: int, round: int) -> Factors:  # noqa: A002
        """Return a client's factors in a round."""
        rng = generator(self.seed, "bandwidth between", client=client, round=round)
        return Factors(*_factors(rng.random((1, 2)), self.between_sigma, self.correlation[route])[0].tolist())

    def within(self, client: int, route: int) -> "IntervalFactors":
        """Return a client's factors in each interval of the run."""
        return IntervalFactors(self.seed, client, self.within_sigma[route], self.correlation[route])


class IntervalFactors:
    """One client's factors by interval."""

    def __init__(self, seed: int, client: int, sigma: float, correlation: float) -> None:
        self._seed, self._client, self._sigma, self._correlation = seed, client, sigma, correlation
        self._number = -1
        self._factors: NDArray[np.float64] | None = None

    def at(self, interval: int) -> Factors:
        """Return the factors in the n-th interval, counted from 0."""
        number, place = divmod(interval, _PIECES_AT_ONCE)
        if self._factors is None or number != self._number:
            rng = generator(self._seed, "bandwidth within", client=self._client, step=number)
            self._factors = _factors(rng.random((_PIECES_AT_ONCE, 2)), self._sigma, self._correlation)
            self._number = number
        return Factors(*self._factors[place].tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class Connections:
    """How links are shared and vary. By default: full duplex, no cells, constant.

    Attributes:
        half_duplex_clients, half_duplex_server: whether both directions share the faster one's capacity.
        cells: in order of their clients.
        variation: None where rates are what a client has drawn.
        trace: of those clients, or the server, whose rates a file gives; it replaces draws and their variation.
    """

    half_duplex_clients: bool = False
    half_duplex_server: bool = False
    cells: tuple[Cells, ...] = ()
    variation: Variation | None = None
    trace: BandwidthTrace | None = None

    def cell_of(self, client: int) -> tuple[Cells, int] | None:
        """Return the kind of a client's cell, and which of these it is; None where it is in none."""
        place = bisect_right(self.cells, client, key=lambda cells: cells.first_client) - 1
        if place < 0:
            return None
        cells = self.cells[place]
        number = (client - cells.first_client) // cells.num_clients
        return (cells, number) if number < cells.num_cells else None

    def lone_rates(self, fleet: Fleet) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what each client's uplink and downlink can carry as drawn, its cell's limit included, in bytes/s."""
        uplink, downlink = fleet.uplink_bytes_per_s.copy(), fleet.downlink_bytes_per_s.copy()
        for cells in self.cells:
            own = slice(cells.first_client, cells.first_client + cells.num_cells * cells.num_clients)
            uplink[own] = np.minimum(uplink[own], cells.uplink_bytes_per_s)
            downlink[own] = np.minimum(downlink[own], cells.downlink_bytes_per_s)
        return uplink, downlink

    def words(self) -> str:
        """Return in a few words what is not as by default; nothing if everything is."""
        sides = {"clients": self.half_duplex_clients, "server": self.half_duplex_server}
        half = [side for side, is_half in sides.items() if is_half]
        said = [f"half duplex: {' and '.join(half)}"] if half else []
        if self.cells:
            said.append(f"{sum(cells.num_cells for cells in self.cells):,} cell(s)")
        if self.variation is not None:
            said.append("rates vary")
        if self.trace is not None:
            said.append(f"a file gives the rates of {len(self.trace.records):,} connection(s)")
        return "; ".join(said)

    def identity(self) -> dict[str, Any]:
        """Return what a run depends on and neither the scenario nor its profiles say: the content of a file."""
        return {} if self.trace is None else {"trace": self.trace.digest}


CONSTANT: Final = Connections()


def connections(scenario: Scenario, fleet: Fleet) -> Connections:
    """Return how the links of a scenario are shared and vary.

    Raises:
        InputError: cells do not fit the fleet, a network says nothing of its variation, or a file cannot be used.
    """
    section = scenario.network
    trace: BandwidthTrace | None = None
    if section.trace is not None:
        with told_at("trace.file"):
            trace = read_bandwidths(Path(beside(scenario, section.trace.file)), len(fleet), section.trace.period_s)
    return Connections(
        half_duplex_clients=section.duplex.clients == "half",
        half_duplex_server=section.duplex.server == "half",
        cells=_cells(section.cells, len(fleet)),
        variation=_variation(scenario, fleet),
        trace=trace,
    )


def _cells(sections: Sequence[CellSection], num_clients: int) -> tuple[Cells, ...]:
    found: list[Cells] = []
    first = 0
    for place, section in enumerate(sections):
        remaining = num_clients - first
        if remaining < (section.count or 1) * section.clients and (section.count is not None or not remaining):
            message = f"of the fleet's {num_clients:,} clients {remaining:,} are left for these cells"
            raise InputError(Problem(message, key=f"cells.{place}"))
        # Rounded up: the last cell takes what is left.
        num_cells = -(-remaining // section.clients) if section.count is None else section.count
        found.append(
            Cells(
                first_client=first,
                num_clients=section.clients,
                num_cells=num_cells,
                uplink_bytes_per_s=bytes_per_s_from_mbit_per_s(section.uplink_mbit_per_s),
                downlink_bytes_per_s=bytes_per_s_from_mbit_per_s(section.downlink_mbit_per_s),
                half_duplex=section.duplex == "half",
            )
        )
        first += num_cells * section.clients
    return tuple(found)


def _variation(scenario: Scenario, fleet: Fleet) -> Variation | None:
    section = scenario.network.variation
    within = section.within_session_cv
    if not within and not section.between_sessions_cv:
        return None
    if within == "catalogue":
        # Of the network itself: what a client goes via is taken as steady.
        stated = [route.network.within_session_cv for route in fleet.network_table]
        unknown = sorted(
            {route.network.id for route, cv in zip(fleet.network_table, stated, strict=True) if cv is None}
        )
        if unknown:
            message = f"network(s) {', '.join(unknown)} state no within_session_cv; give a number for all, such as 0.4"
            raise InputError(Problem(message, key="variation.within_session_cv", value=within))
        cvs = [cv for cv in stated if cv is not None]
    else:
        cvs = [within] * len(fleet.network_table)
    return Variation(
        seed=scenario.seed.fleet,
        between_sigma=_sigma(section.between_sessions_cv),
        within_sigma=tuple(map(_sigma, cvs)),
        correlation=tuple(route.network.downlink_uplink_correlation for route in fleet.network_table),
        interval_s=section.interval_s,
    )


def _sigma(cv: float) -> float:
    """Return the standard deviation of the logarithm of a log-normal with this coefficient of variation."""
    return math.sqrt(math.log1p(cv * cv))


def _factors(uniform: NDArray[np.float64], sigma: float, correlation: float) -> NDArray[np.float64]:
    """Return a pair of log-normal factors of mean 1 for each pair of uniform numbers, shape [pairs, 2]."""
    z = ndtri(uniform)
    z[:, 1] = correlation * z[:, 0] + math.sqrt(1.0 - correlation * correlation) * z[:, 1]
    factors: NDArray[np.float64] = np.exp(sigma * z - sigma * sigma / 2)
    return factors
