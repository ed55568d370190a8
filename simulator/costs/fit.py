"""Which cuts fit into the memory of a fleet, and what becomes of clients that cannot hold what is asked of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from devices.fleets import Fleet
from devices.problems import InputError, Problem
from devices.profiles import DeviceProfile
from simulator.costs.memory import MemoryModel, max_feasible_cut
from simulator.costs.too_small import TooSmall, TooSmallGroup, gib, grouped, having
from simulator.hardware import least_cut
from simulator.participation.selection import largest_cohort
from simulator.policies.observation import Decision
from simulator.scenario import Scenario
from simulator.sections.policy import MovingPolicy
from simulator.serving import serving


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What memory allows.

    Attributes:
        max_cuts: for each device of the fleet's table, the deepest cut that its memory and the scenario allow.
        excluded: for each device, whether clients that have it take no part.
        outcomes: what became of clients that cannot hold what is asked of them, where the scenario goes on without
            that: how many they are and what they cannot hold.
        notes: the same, with their devices.
        problems: why the scenario cannot be run.
    """

    max_cuts: tuple[int, ...]
    excluded: tuple[bool, ...]
    outcomes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def absent(self, fleet: Fleet) -> NDArray[np.bool_] | None:
        """Return for each client whether it takes no part; None where all of them may."""
        return np.array(self.excluded)[fleet.device_index] if any(self.excluded) else None

    def check(self) -> None:
        """Raise InputError where the scenario cannot be run."""
        if self.problems:
            raise InputError(*self.problems)


def fit(scenario: Scenario, memory: MemoryModel, fleet: Fleet, server: DeviceProfile) -> Fit:
    """Return which cuts fit, doing with those that do not what `costs.oom` says.

    Problems of the result say that a device that some client has cannot hold the fewest blocks that the scenario asks
    of it, and may neither have fewer nor stay away; that nobody is left; or that the server cannot hold its part.
    """
    policy, oom = scenario.policy, scenario.costs.oom
    lowers = oom == "lower-cut" and memory.is_split
    limit = policy.max_cut if isinstance(policy, MovingPolicy) and memory.is_split else None
    fits = [max_feasible_cut(device, memory, max_cut=limit) for device in fleet.device_table]
    asked = [least_cut(scenario, device.id) if memory.is_split else memory.num_blocks for device in fleet.device_table]
    num_having = np.bincount(fleet.device_index, minlength=len(fleet.device_table))
    small = [
        TooSmall(device=device, num_clients=num, asked=needed, deepest=has, key=_key_of(scenario, device.id))
        for device, num, needed, has in zip(fleet.device_table, num_having.tolist(), asked, fits, strict=True)
        if num and has < needed
    ]
    groups = grouped(small, memory, scenario.workload.priced_as)
    too_small = {member.device.id for member in small}
    excluded = [oom == "exclude" and device.id in too_small for device in fleet.device_table]
    outcomes, notes, problems = _told(groups, oom, len(fleet), lowers=lowers)
    if all(small or not num for small, num in zip(excluded, num_having, strict=True)):
        problems.append(Problem("excludes every client: none can hold what the policy asks of it", key="costs.oom"))
    else:
        lowest = [min(has, needed) if lowers else needed for has, needed in zip(fits, asked, strict=True)]
        cuts = np.repeat(lowest, np.where(excluded, 0, num_having))
        problems += _server_problems(scenario, memory, server, cuts, len(fleet))
        problems += _too_few(scenario, len(cuts))
    return Fit(
        max_cuts=tuple(fits),
        excluded=tuple(excluded),
        outcomes=tuple(outcomes),
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _told(
    groups: Sequence[TooSmallGroup], oom: str, num_clients: int, *, lowers: bool
) -> tuple[list[str], list[str], list[Problem]]:
    """Return outcomes, notes and problems of clients that cannot hold what is asked of them."""
    outcomes, notes, problems = list[str](), list[str](), list[Problem]()
    can_leave = sum(group.num_clients for group in groups) < num_clients
    for group in groups:
        if oom == "exclude":
            outcomes.append(group.outcome(num_clients, "take no part"))
            notes.append(f"costs.oom exclude: {outcomes[-1]}: {group.devices(having)}")
            continue
        lowered, left = group.divided() if lowers else (None, group)
        if lowered is not None:
            outcomes.append(lowered.outcome(num_clients, "hold fewer blocks"))
            holding = lowered.devices(lambda member: f"{having(member)} hold cut {member.deepest}")
            notes.append(f"costs.oom lower-cut: {outcomes[-1]}: {holding}")
        if left is not None:
            problems.append(left.problem(fewest=1 if lowers else left.asked, can_leave=can_leave))
    return outcomes, notes, problems


def _key_of(scenario: Scenario, device: str) -> str:
    """Return the key that gives clients a device, the first where there are several."""
    groups = scenario.fleet.clients or ()
    places = (f"fleet.clients.{place}.device" for place, group in enumerate(groups) if group.device == device)
    return next(places, "fleet.mixture")


def _too_few(scenario: Scenario, num_left: int) -> list[Problem]:
    """Return whether no round could ever start with the clients that are left."""
    needed = scenario.selection.min_clients
    if needed <= num_left:
        return []
    message = f"costs.oom leaves {num_left:,} client(s) that can hold what the policy asks of them, got {needed}"
    return [Problem(message, key="selection.min_clients")]


def _server_problems(
    scenario: Scenario, memory: MemoryModel, server: DeviceProfile, cuts: NDArray[np.integer], num_clients: int
) -> list[Problem]:
    """Return whether a server is too small for clients with these cuts, of whom only some take part in a round.

    It has a copy of its part for each participant, and the shallowest cuts leave it the most.
    """
    num_at_once = largest_cohort(scenario.selection, num_clients)
    shallowest = np.maximum(1, np.sort(cuts)[:num_at_once]).tolist()
    needs_bytes = memory.server(shallowest, steps_at_once=serving(scenario).steps_at_once(num_at_once)).total_bytes
    if needs_bytes <= server.memory_usable_bytes:
        return []
    message = (
        f"device '{server.id}' cannot hold the server's part for {len(shallowest):,} clients: that takes "
        f"{gib(needs_bytes)} GiB and {gib(server.memory_usable_bytes)} GiB are usable"
    )
    return [Problem(message, key="server.device", value=server.id)]


def held(decision: Decision, max_cut: Callable[[int], int]) -> Decision:
    """Return a policy's decision without cuts that do not fit: whoever was given more gets what fits, and why."""
    too_deep: Mapping[int, int] = {client: cut for client, cut in decision.cuts.items() if cut > max_cut(client)}
    if not too_deep:
        return decision
    reasons = {client: f"as many of {cut} as fit" for client, cut in too_deep.items()}
    return replace(
        decision,
        cuts={**decision.cuts, **{client: max_cut(client) for client in too_deep}},
        reasons={**decision.reasons, **reasons},
    )
