"""Which of the clients that can be reached take part in a round, and when the round is over.

A selection is a function from whom the server can reach, the size of the fleet, random numbers of the round and its
section of the scenario to a cohort. A further one is one function more here, one section, and one line where it is
called.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.problems import InputError, Problem
from simulator.protocols.rounds import FOR_EVERYBODY, Terms
from simulator.sections.participation import (
    AllSelection,
    DeadlineSelection,
    OortSelection,
    OverCommitSelection,
    OwnSelection,
    RandomSelection,
    Selection,
)

Ids = NDArray[np.int64]

USUAL_FRACTION = 0.1  # of the fleet, where a random selection says nothing
_DIGITS = 9  # 1.1 * 10 are 11 clients, not 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """Who takes part in a round.

    Attributes:
        clients: their numbers, rising.
        terms: what the round waits for.
    """

    clients: Ids
    terms: Terms


def everybody(reachable: Ids, num_clients: int, rng: np.random.Generator, section: AllSelection) -> Cohort:  # noqa: ARG001
    """Ask everybody."""
    return Cohort(clients=reachable, terms=FOR_EVERYBODY)


def at_random(reachable: Ids, num_clients: int, rng: np.random.Generator, section: RandomSelection) -> Cohort:
    """Ask some, each with the same chance."""
    fraction = USUAL_FRACTION if section.fraction is None else section.fraction
    wanted = _wanted(fraction, num_clients) if section.count is None else section.count
    return Cohort(clients=_drawn(reachable, wanted, num_clients, rng), terms=FOR_EVERYBODY)


def over_commit(reachable: Ids, num_clients: int, rng: np.random.Generator, section: OverCommitSelection) -> Cohort:
    """Ask more than are needed; the first count."""
    terms = Terms(num_needed=section.count, deadline_s=math.inf if section.deadline_s is None else section.deadline_s)
    return Cohort(clients=_drawn(reachable, _asked(section), num_clients, rng), terms=terms)


def deadline(reachable: Ids, num_clients: int, rng: np.random.Generator, section: DeadlineSelection) -> Cohort:
    """Ask some or everybody, and wait for them only so long."""
    wanted = section.count if section.fraction is None else _wanted(section.fraction, num_clients)
    clients = reachable if wanted is None else _drawn(reachable, wanted, num_clients, rng)
    return Cohort(clients=clients, terms=Terms(deadline_s=section.deadline_s))


def largest_cohort(section: Selection, num_clients: int) -> int:
    """Return how many clients take part in a round at most."""
    match section:
        case AllSelection():
            return num_clients
        case OverCommitSelection():
            wanted = _asked(section)
        case OwnSelection(count=count):
            wanted = num_clients if count is None else count
        case RandomSelection(count=None, fraction=fraction) | OortSelection(count=None, fraction=fraction):
            wanted = _wanted(USUAL_FRACTION if fraction is None else fraction, num_clients)
        case _:
            wanted = section.count or _wanted(section.fraction or 1.0, num_clients)
    return min(wanted, num_clients)


def check_selection(section: Selection, num_clients: int) -> None:
    """Make sure that a fleet is large enough for what is asked of it.

    Raises:
        InputError: more clients are wanted than there are.
    """
    stated = {"min_clients": section.min_clients, "count": getattr(section, "count", None)}
    problems = [
        Problem(f"the fleet has {num_clients:,} clients, got {wanted:,}", key=f"selection.{key}", value=wanted)
        for key, wanted in stated.items()
        if wanted is not None and wanted > num_clients
    ]
    if problems:
        raise InputError(*problems)


def _asked(section: OverCommitSelection) -> int:
    return math.ceil(round(section.factor * section.count, _DIGITS))


def _wanted(fraction: float, num_clients: int) -> int:
    return max(1, round(fraction * num_clients))


def _drawn(reachable: Ids, wanted: int, num_clients: int, rng: np.random.Generator) -> Ids:
    """Return so many of the reachable, or all if they are fewer: those who drew the smallest numbers.

    Everybody in the fleet draws, so that a client's number does not depend on who else can be reached.
    """
    if len(reachable) <= wanted:
        return reachable
    numbers = rng.random(num_clients)[reachable]
    return np.sort(reachable[np.argpartition(numbers, wanted - 1)[:wanted]])
