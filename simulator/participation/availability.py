"""When a round can start and whom it can ask: what a scenario says of availability, and how it comes out.

`docs/availability.md` has the models and their sources.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from devices.availability import AvailabilityProfile, mean_share
from devices.fleets import FleetMixture
from devices.problems import InputError, Problem
from devices.units import HOUR_S
from simulator.data.csv_file import told_at
from simulator.draws import uniforms
from simulator.models import beside
from simulator.participation.durations import Floats
from simulator.participation.presence import CoinTosses, DailySessions, Ids, Presence, Renewal, Sessions
from simulator.participation.trace_file import Trace, read_trace
from simulator.scenario import Scenario
from simulator.sections.participation import AlwaysOn, BernoulliAvailability, TraceAvailability

LONGEST_WAIT_S: Final = 365 * 24.0 * HOUR_S
MOST_LOOKS: Final = 10_000
"""A round that could not start within a year, or as often as somebody has looked, never will."""


class Profiles(Protocol):
    """What is looked up: a catalogue."""

    def availability(self, name: str) -> AvailabilityProfile:
        """Return an availability profile."""

    def fleet(self, name: str) -> FleetMixture:
        """Return a mixture, which names the profile that suits it."""


@dataclass(frozen=True, kw_only=True)
class AvailabilityModel:
    """When clients can be reached, with every number in place.

    Attributes:
        process: a profile whose clients come and go, or sessions from a file, or the probability of a coin toss; None
            where everybody is always there.
        failure_frac: share of a round's participants that fail in it.
        start_h: the clients' local hour at time 0.
        outages_s: from when until when the server is unreachable, in order, not touching each other.
    """

    process: AvailabilityProfile | Trace | float | None
    failure_frac: float
    start_h: float = 0.0
    outages_s: tuple[tuple[float, float], ...] = ()

    def identity(self) -> dict[str, Any]:
        """Return what a run depends on and the scenario does not say: the profile's numbers, the file's content."""
        match self.process:
            case AvailabilityProfile() as profile:
                words = {"label", "notes", "rule", "confidence", "provenance"}
                return {key: value for key, value in dataclasses.asdict(profile).items() if key not in words}
            case Trace(digest=digest):
                return {"trace": digest}
            case _:
                return {}

    def words(self) -> str:
        """Return in a few words what it is."""
        match self.process:
            case AvailabilityProfile(process="sinusoid") as profile:
                there = f"{profile.id}: a client is there {profile.available_frac:.0%} of the time"
            case AvailabilityProfile() as profile:
                there = f"{profile.id}: a client is there {mean_share(profile):.0%} of the time on average"
            case Trace() as trace:
                there = f"as a file says; {trace.num_absent:,} clients are never there"
            case float() as frac:
                there = f"a client is there in {frac:.0%} of the rounds"
            case _:
                there = "always on"
        return f"{there}; {self.failure_frac:.0%} of a round's participants fail" if self.failure_frac else there


class Availability:
    """Who can be reached as a run goes on. Times never run backwards.

    Args:
        model: what the scenario says.
        num_clients: of the fleet.
        seed: of the fleet's draws.
        absent: for each client, whether it never takes part; None: all may.
    """

    def __init__(
        self, model: AvailabilityModel, num_clients: int, seed: int, absent: NDArray[np.bool_] | None = None
    ) -> None:
        self._absent = absent
        self._seed, self._failure_frac, self._outages_s = seed, model.failure_frac, model.outages_s
        self._presence = _presence(model, num_clients, seed)
        if absent is not None:
            self._presence.leave_out(absent)

    def next_start_s(self, now_s: float, round: int, num_clients: int) -> float:  # noqa: A002
        """Return from when on a round can start: the server is up and so many clients can be reached.

        Infinity: never, or not within `LONGEST_WAIT_S` and `MOST_LOOKS`.
        """
        latest_s = now_s + LONGEST_WAIT_S
        for attempt in range(MOST_LOOKS):
            now_s = self._next_up_s(now_s)
            self._presence.look(now_s, round, attempt)
            num_missing = num_clients - np.count_nonzero(self._here())
            if num_missing <= 0:
                return now_s
            now_s = self._presence.next_look_s(now_s, int(num_missing))
            if now_s > latest_s:
                break
        return math.inf

    def reachable(self) -> Ids:
        """Return who can be reached at the start that was found last."""
        return np.flatnonzero(self._here())

    def leaves_s(self, clients: Ids) -> Floats:
        """Return when clients go that could be reached at that start."""
        until_s: Floats = self._presence.until_s[clients]
        return until_s

    def failures(self, clients: Ids, round: int) -> list[float | None]:  # noqa: A002
        """Return after which part of its own time in a round each client fails; None where it does not."""
        if not self._failure_frac:
            return [None] * len(clients)
        drawn = uniforms(self._seed, "failure", clients=clients, round=round)
        return [moment if coin < self._failure_frac else None for coin, moment, *_ in drawn.tolist()]

    def _here(self) -> NDArray[np.bool_]:
        return self._presence.here if self._absent is None else self._presence.here & ~self._absent

    def _next_up_s(self, now_s: float) -> float:
        return next((end_s for start_s, end_s in self._outages_s if start_s <= now_s < end_s), now_s)


def availability_model(scenario: Scenario, catalogue: Profiles, num_clients: int) -> AvailabilityModel:
    """Return when the clients of a scenario can be reached.

    Raises:
        InputError: a profile or file cannot be found or used.
    """
    section, outages_s = scenario.availability, _merged([(o.start_s, o.end_s) for o in scenario.server.outages])
    match section:
        case AlwaysOn():
            process: AvailabilityProfile | Trace | float | None = None
        case BernoulliAvailability():
            process = section.available_frac
        case TraceAvailability():
            with told_at("file"):
                process = read_trace(Path(beside(scenario, section.file)), num_clients)
        case _:
            profile = _profile(scenario, catalogue)
            stated = (0.0,) if profile is None or profile.dropout_frac is None else profile.dropout_frac
            return AvailabilityModel(
                process=_process(profile),
                failure_frac=sum(stated) / len(stated) if section.failure_frac is None else section.failure_frac,
                start_h=section.start_h,
                outages_s=outages_s,
            )
    return AvailabilityModel(process=process, failure_frac=section.failure_frac, outages_s=outages_s)


def _profile(scenario: Scenario, catalogue: Profiles) -> AvailabilityProfile | None:
    """Return the profile that is named, or else the one of the fleet's mixture; None for listed clients."""
    assert scenario.availability.kind == "catalogue"
    name = scenario.availability.id
    if name is None and scenario.fleet.mixture is not None:
        name = catalogue.fleet(scenario.fleet.mixture).availability
    return None if name is None else catalogue.availability(name)


def _process(profile: AvailabilityProfile | None) -> AvailabilityProfile | float | None:
    """Return what a profile comes to.

    Raises:
        InputError: it says too little to be simulated.
    """
    if profile is None or profile.process == "always":
        return None
    mean_frac, ratio = profile.available_frac, profile.diurnal_ratio
    missing = ""
    match profile.process:
        case "on-off-renewal":
            return profile
        case "sinusoid" if mean_frac and ratio and ratio > 1:
            if mean_frac * 2 * ratio / (ratio + 1) <= 1:  # the mean times 1 + amplitude
                return profile
            missing = f"with a mean of {mean_frac:g} and a ratio of {ratio:g} its maximum would exceed 1"
        case "sinusoid":
            missing = "a sinusoid needs an available_frac above 0 and a diurnal_ratio above 1"
        case "bernoulli" if mean_frac and not profile.rule:
            return mean_frac
        case "bernoulli":
            missing = f"its numbers are only told in words: {profile.rule}" if profile.rule else "no available_frac"
        case _:
            missing = "only totals are known of it"
    message = f"availability '{profile.id}' cannot be simulated: {missing}; use another one, or kind bernoulli or trace"
    raise InputError(Problem(message, key="id", value=profile.id))


def _presence(model: AvailabilityModel, num_clients: int, seed: int) -> Presence:
    match model.process:
        case AvailabilityProfile(process="sinusoid") as profile:
            return DailySessions(profile, num_clients, seed, model.start_h)
        case AvailabilityProfile() as profile:
            return Renewal(profile, num_clients, seed, model.start_h)
        case Trace() as trace:
            return Sessions(trace)
        case float() as available_frac:
            return CoinTosses(num_clients, seed, available_frac)
        case _:
            return Presence(num_clients)


def _merged(windows: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return windows in order of time, those that touch or overlap as one."""
    merged: list[tuple[float, float]] = []
    for start_s, end_s in sorted(windows):
        if merged and start_s <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_s))
        else:
            merged.append((start_s, end_s))
    return tuple(merged)
