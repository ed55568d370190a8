"""The machines of a scenario: fleet, server and links, and which cuts fit into their memory."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devices.catalogue.lookup import Catalogue
from devices.fleets import Fleet, FleetEntry, explicit_fleet, mixture_fleet
from devices.problems import InputError, Problem
from devices.profiles import DeviceProfile
from devices.units import GIBI
from simulator.draws import generator
from simulator.memory import MemoryModel, max_feasible_cut
from simulator.scenario import Scenario
from simulator.world import ServerLinks


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Who computes and how they are connected.

    Attributes:
        fleet: the clients.
        server: the device of each of the server's slots.
        server_links: the server's own connection.
        notes: what a user should know of how profiles were chosen.
    """

    fleet: Fleet
    server: DeviceProfile
    server_links: ServerLinks
    notes: tuple[str, ...]


def hardware(scenario: Scenario, catalogue_folders: Sequence[Path]) -> Hardware:
    """Return the machines of a scenario; profiles beside its file count as the user's own.

    Raises:
        InputError: a profile cannot be found or used.
    """
    own = [scenario.folder] if scenario.folder is not None else []
    catalogue = Catalogue((*own, *catalogue_folders))
    notes = [f"{entry.kind} '{entry.id}' is yours ({entry.file}), not the shipped one" for entry in catalogue.shadowed]
    with under("fleet"):
        fleet = _fleet(scenario, catalogue)
    with under("server.device"):
        server = catalogue.device(scenario.server.device)
    with under("server.network"):
        downlink, uplink, latency_s = catalogue.network(scenario.server.network).median()
    if scenario.fleet.mixture is not None:
        suited = catalogue.fleet(scenario.fleet.mixture).availability
        if suited != scenario.availability.kind:
            notes.append(f"fleet '{scenario.fleet.mixture}' is known to be {suited}; here it is always on")
    # The server's downlink carries what clients send.
    links = ServerLinks(uplink_bytes_per_s=downlink, downlink_bytes_per_s=uplink, latency_s=latency_s)
    return Hardware(fleet=fleet, server=server, server_links=links, notes=tuple(notes))


def _fleet(scenario: Scenario, catalogue: Catalogue) -> Fleet:
    section, rng = scenario.fleet, generator(scenario.seed.fleet, "fleet")
    if section.mixture is not None:
        assert section.count is not None  # the section refuses a mixture without it
        return mixture_fleet(section.mixture, section.count, catalogue, rng)
    entries = [
        FleetEntry(device=group.device, network=group.network, via=group.via, count=group.count)
        for group in section.clients or ()
    ]
    return explicit_fleet(entries, catalogue, rng)


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
    for number, device in enumerate(fleet.device_table):
        needed = least_cut(scenario, device.id)
        if fits[number] < needed:
            needs, has = memory.client(needed).total_bytes / GIBI, device.memory_usable_bytes / GIBI
            num_clients = int((fleet.device_index == number).sum())
            problems.append(
                Problem(
                    f"{num_clients} client(s) with device '{device.id}' cannot hold {needed} block(s): that takes "
                    f"{needs:.2f} GiB and {has:.2f} GiB are usable; choose another device, a smaller model, batch or "
                    f"length, or a shallower cut (`splitft check` shows memory by cut)",
                    key="fleet",
                    value=device.id,
                )
            )
    shallowest = [least_cut(scenario, fleet.device(client).id) for client in range(len(fleet))]
    needs_bytes = memory.server(shallowest, slots=scenario.server.slots).total_bytes
    if needs_bytes > server.memory_usable_bytes:
        problems.append(
            Problem(
                f"device '{server.id}' cannot hold the server's part for {len(fleet)} clients: that takes "
                f"{needs_bytes / GIBI:.2f} GiB and {server.memory_usable_bytes / GIBI:.2f} GiB are usable",
                key="server.device",
                value=server.id,
            )
        )
    if problems:
        raise InputError(*problems)
    return tuple(fits)


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
