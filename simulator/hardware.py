"""The machines of a scenario: fleet, server and links."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devices.catalogue.lookup import Catalogue
from devices.catalogue.plausible import doubts
from devices.defaults import defaults
from devices.fleets import Fleet, FleetEntry, FleetMixture, Throttle, explicit_fleet, mixture_fleet
from devices.power import with_assumed_power
from devices.problems import Findings, InputError, Problem, did_you_mean
from devices.profiles import DeviceProfile
from devices.stacks import under_stack
from devices.strict_yaml import read_document
from simulator.caveats import unused_variation
from simulator.costs.pace import Variation
from simulator.draws import generator
from simulator.network.connections import Connections, ServerLinks, connections
from simulator.participation.availability import AvailabilityModel, availability_model
from simulator.scenario import Scenario
from simulator.sections.costs import CatalogueJitter, CatalogueThrottle, HeatThrottle, LognormalJitter
from simulator.sections.policy import FixedPolicy, PerDevicePolicy


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Who computes and how they are connected.

    Attributes:
        fleet: the clients.
        server: the device of each of the server's slots.
        server_links: the server's own connection.
        connections: how all connections are shared and vary.
        availability: when clients can be reached.
        variation: how computing times differ from those modelled.
        notes: what a user should know of how profiles were chosen.
    """

    fleet: Fleet
    server: DeviceProfile
    server_links: ServerLinks
    connections: Connections
    availability: AvailabilityModel
    variation: Variation
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
    fleet = found.find(lambda: _adapted(scenario, _fleet(scenario, catalogue)))
    server = found.find(lambda: _server_device(scenario, catalogue))
    links = found.find(lambda: _server_links(scenario, catalogue))
    shared = found.find(lambda: _connections(scenario, fleet()))
    availability = found.find(lambda: _availability(scenario, catalogue, fleet))
    found.find(lambda: check_devices_named(scenario, fleet()))
    found.tell()
    notes += _doubts(catalogue, [device.id for device in (*fleet().device_table, server())])
    if scenario.fleet.mixture is not None:
        notes += filter(None, [unused_variation(catalogue.fleet(scenario.fleet.mixture), scenario.costs)])
    return Hardware(
        fleet=fleet(),
        server=server(),
        server_links=links(),
        connections=shared(),
        availability=availability(),
        variation=_variation(scenario, catalogue),
        notes=tuple(notes),
    )


def _doubts(catalogue: Catalogue, devices: Sequence[str]) -> list[str]:
    """Return what of the user's own devices is likely a slip of units."""
    own = [name for name in dict.fromkeys(devices) if catalogue.is_own("devices", name)]
    return [doubt for name in own for doubt in doubts(catalogue.device(name))]


def _server_device(scenario: Scenario, catalogue: Catalogue) -> DeviceProfile:
    with under("server.device"):
        server = catalogue.device(scenario.server.device)
    if (stack := scenario.costs.training_stack.server) is not None:
        with under("costs.training_stack.server"):
            server = under_stack(server, stack)
    return server


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
    named = policy.cuts if isinstance(policy, PerDevicePolicy) else {}
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


def _adapted(scenario: Scenario, fleet: Fleet) -> Fleet:
    """Return the clients with devices as the scenario's training stack and its assumptions on power make them."""
    costs, table = scenario.costs, fleet.device_table
    if (stack := costs.training_stack.clients) is not None:
        with under("costs.training_stack.clients"):
            table = tuple(under_stack(device, stack) for device in table)
    if costs.energy == "assumed":
        table = tuple(with_assumed_power(device) for device in table)
    return dataclasses.replace(fleet, device_table=table)


def _variation(scenario: Scenario, catalogue: Catalogue) -> Variation:
    costs, name = scenario.costs, scenario.fleet.mixture
    mixture = None if name is None else catalogue.fleet(name)
    client_ln_sigma = server_ln_sigma = 0.0
    match costs.jitter:
        case CatalogueJitter():
            client_ln_sigma = _usual_jitter(mixture)
        case LognormalJitter() as jitter:
            client_ln_sigma, server_ln_sigma = jitter.client_ln_sigma, jitter.server_ln_sigma
    throttle: Throttle | None = None
    match costs.throttle:
        case CatalogueThrottle():
            throttle = None if mixture is None else mixture.throttle
        case HeatThrottle(after_s=after_s, mean_frac=mean_frac, low_frac=low_frac, high_frac=high_frac):
            throttle = Throttle(after_s=after_s, mean_frac=mean_frac, low_frac=low_frac, high_frac=high_frac)
    return Variation(client_ln_sigma=client_ln_sigma, server_ln_sigma=server_ln_sigma, throttle=throttle)


def _usual_jitter(mixture: FleetMixture | None) -> float:
    return defaults().fleets.compute_jitter_ln_sigma.value if mixture is None else mixture.compute_jitter_ln_sigma


def least_cut(scenario: Scenario, device: str) -> int:
    """Return the fewest blocks that the scenario asks a client with this device to hold."""
    match scenario.policy:
        case FixedPolicy(cut=cut):
            return cut
        case PerDevicePolicy(cuts=cuts, default=default):
            return cuts.get(device, default)
        case policy:
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
