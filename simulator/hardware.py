"""The machines of a scenario: fleet, server and links, and which cuts fit into their memory."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices.catalogue.lookup import Catalogue
from devices.fleets import Fleet, FleetEntry, explicit_fleet, mixture_fleet
from devices.problems import Findings, InputError, Problem, did_you_mean
from devices.profiles import DeviceProfile
from devices.strict_yaml import read_document
from devices.units import GIBI
from simulator.availability import AvailabilityModel, availability_model
from simulator.caveats import unused_variation
from simulator.connections import Connections, ServerLinks, connections
from simulator.draws import generator
from simulator.memory import MemoryModel, max_feasible_cut
from simulator.scenario import Scenario
from simulator.selection import largest_cohort


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Who computes and how they are connected.

    Attributes:
        fleet: the clients.
        server: the device of each of the server's slots.
        server_links: the server's own connection.
        connections: how all connections are shared and vary.
        availability: when clients can be reached.
        notes: what a user should know of how profiles were chosen.
    """

    fleet: Fleet
    server: DeviceProfile
    server_links: ServerLinks
    connections: Connections
    availability: AvailabilityModel
    notes: tuple[str, ...]


def hardware(scenario: Scenario, catalogue_folders: Sequence[Path]) -> Hardware:
    """Return the machines of a scenario; profiles beside its file count as the user's own.

    Raises:
        InputError: profiles cannot be found or used; all of them are told.
    """
    own = [scenario.folder] if scenario.folder is not None else []
    catalogue = Catalogue((*own, *catalogue_folders))
    notes = [f"{entry.kind} '{entry.id}' is yours ({entry.file}), not the shipped one" for entry in catalogue.shadowed]
    found = Findings()
    fleet = found.find(lambda: _fleet(scenario, catalogue))
    server = found.find(lambda: _server_device(scenario, catalogue))
    links = found.find(lambda: _server_links(scenario, catalogue))
    shared = found.find(lambda: _connections(scenario, fleet()))
    availability = found.find(lambda: _availability(scenario, catalogue, fleet))
    found.find(lambda: check_devices_named(scenario, fleet()))
    found.tell()
    if scenario.fleet.mixture is not None:
        notes += filter(None, [unused_variation(catalogue.fleet(scenario.fleet.mixture))])
    return Hardware(
        fleet=fleet(),
        server=server(),
        server_links=links(),
        connections=shared(),
        availability=availability(),
        notes=tuple(notes),
    )


def _server_device(scenario: Scenario, catalogue: Catalogue) -> DeviceProfile:
    with under("server.device"):
        return catalogue.device(scenario.server.device)


def _server_links(scenario: Scenario, catalogue: Catalogue) -> ServerLinks:
    with under("server.network"):
        downlink, uplink, latency_s = catalogue.network(scenario.server.network).median()
    # The server's downlink carries what clients send.
    return ServerLinks(uplink_bytes_per_s=downlink, downlink_bytes_per_s=uplink, latency_s=latency_s)


def _availability(scenario: Scenario, catalogue: Catalogue, fleet: Callable[[], Fleet]) -> AvailabilityModel:
    if scenario.fleet.mixture is not None or scenario.availability.kind == "trace":
        fleet()  # names the profile that suits it, or has a row for each client
    with under("availability"):
        return availability_model(scenario, catalogue, scenario.fleet.num_clients)


def _connections(scenario: Scenario, fleet: Fleet) -> Connections:
    with under("network"):
        return connections(scenario, fleet)


def _fleet(scenario: Scenario, catalogue: Catalogue) -> Fleet:
    section, rng = scenario.fleet, generator(scenario.seed.fleet, "fleet")
    if section.mixture is not None:
        assert section.count is not None  # the section refuses a mixture without it
        with under("fleet"), _told_in_its_file(section.mixture, catalogue):
            return mixture_fleet(section.mixture, section.count, catalogue, rng)
    entries = [
        FleetEntry(device=group.device, network=group.network, via=group.via, count=group.count)
        for group in section.clients or ()
    ]
    with under("fleet"):
        return explicit_fleet(entries, catalogue, rng)


@contextmanager
def _told_in_its_file(mixture: str, catalogue: Catalogue) -> Iterator[None]:
    """Place problems with the members of a mixture in the mixture's file."""
    try:
        yield
    except InputError as error:
        is_member = [p.file is None and (p.key or "").startswith(("devices.", "networks.")) for p in error.problems]
        document = read_document(catalogue.file("fleets", mixture)) if any(is_member) else None
        raise InputError(
            *(
                document.located(problem) if document and member else problem
                for problem, member in zip(error.problems, is_member, strict=True)
            )
        ) from None


def check_devices_named(scenario: Scenario, fleet: Fleet) -> None:
    """Make sure that a policy which names devices names those of the fleet.

    Raises:
        InputError: no client has such a device.
    """
    policy, ids = scenario.policy, [device.id for device in fleet.device_table]
    named = policy.cuts if policy.kind == "per-device" else {}
    problems = [
        Problem(
            f"no client has the device '{name}'; the fleet has {', '.join(ids)}{did_you_mean(name, ids)}",
            key=f"policy.cuts.{name}",
            value=name,
        )
        for name in named
        if name not in ids
    ]
    if problems:
        raise InputError(*problems)


def max_cuts(scenario: Scenario, memory: MemoryModel, fleet: Fleet, server: DeviceProfile) -> tuple[int, ...]:
    """Return the deepest cut of each device of the fleet's table.

    Raises:
        InputError: a device that some client has cannot hold the fewest blocks that the scenario asks of it, or the
            server cannot hold its part.
    """
    policy = scenario.policy
    limit = policy.max_cut if policy.kind == "splitft" else None
    fits = [max_feasible_cut(device, memory, max_cut=limit) for device in fleet.device_table]
    problems = []
    num_having = np.bincount(fleet.device_index, minlength=len(fleet.device_table))
    for number, device in enumerate(fleet.device_table):
        needed = least_cut(scenario, device.id)
        if num_having[number] and fits[number] < needed:
            needs, has = memory.client(needed).total_bytes / GIBI, device.memory_usable_bytes / GIBI
            problems.append(
                Problem(
                    f"{num_having[number]} client(s) with device '{device.id}' cannot hold {needed} block(s): it takes "
                    f"{needs:.2f} GiB and {has:.2f} GiB are usable; choose another device, a smaller model, batch or "
                    f"length, or a shallower cut (`splitft check` shows memory by cut)",
                    key=_key_of(scenario, device.id),
                    value=device.id,
                )
            )
    # The server has a copy of its part for each participant; the shallowest cuts leave it the most.
    num_at_once = largest_cohort(scenario.selection, len(fleet))
    shallowest = np.repeat([least_cut(scenario, device.id) for device in fleet.device_table], num_having)
    shallowest = np.sort(shallowest)[:num_at_once]
    needs_bytes = memory.server(shallowest.tolist(), slots=scenario.server.num_served(num_at_once)).total_bytes
    if needs_bytes > server.memory_usable_bytes:
        problems.append(
            Problem(
                f"device '{server.id}' cannot hold the server's part for {num_at_once:,} clients: that takes "
                f"{needs_bytes / GIBI:.2f} GiB and {server.memory_usable_bytes / GIBI:.2f} GiB are usable",
                key="server.device",
                value=server.id,
            )
        )
    if problems:
        raise InputError(*problems)
    return tuple(fits)


def _key_of(scenario: Scenario, device: str) -> str:
    """Return the key that gives clients a device, the first where there are several."""
    groups = scenario.fleet.clients or ()
    places = (f"fleet.clients.{place}.device" for place, group in enumerate(groups) if group.device == device)
    return next(places, "fleet.mixture")


def least_cut(scenario: Scenario, device: str) -> int:
    """Return the fewest blocks that the scenario asks a client with this device to hold."""
    policy = scenario.policy
    match policy.kind:
        case "fixed":
            return policy.cut
        case "per-device":
            return policy.cuts.get(device, policy.default)
        case _:
            return policy.min_cut


@contextmanager
def under(section: str) -> Iterator[None]:
    """Put the section's name before the keys of problems that know only their place in it; files know theirs."""
    try:
        yield
    except InputError as error:
        placed = (
            p if p.file else dataclasses.replace(p, key=f"{section}.{p.key}" if p.key else section)
            for p in error.problems
        )
        raise InputError(*placed) from None
