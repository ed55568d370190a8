"""A file of sessions: when each client was there, as somebody has recorded it.

A CSV file with the header `client,start_s,end_s` and one session a row, in any order. A session that begins where
another one of the same client has not ended yet, or has just ended, continues it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices.problems import InputError, Problem
from simulator.data.csv_file import read_csv

HEADER = ["client", "start_s", "end_s"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """The sessions of all clients of a fleet.

    Attributes:
        changes_s: one client after the other, the times at which it comes and goes, in turn and rising; then infinity.
        first: for each client, where its times begin.
        num_absent: clients without a session.
        digest: sha256 of the file, in hex.
    """

    changes_s: NDArray[np.float64]
    first: NDArray[np.int64]
    num_absent: int
    digest: str


def read_trace(path: Path, num_clients: int) -> Trace:
    """Return the sessions that a file holds.

    Raises:
        InputError: the file cannot be read, or rows in it cannot be used; every such row is named.
    """
    rows, digest = read_csv(path, HEADER)
    sessions = _checked(rows, path, num_clients)
    times: list[float] = []
    first = np.zeros(num_clients, dtype=np.int64)
    for client, own in enumerate(sessions):
        first[client] = len(times)
        times += _merged(own)
        times.append(math.inf)
    return Trace(
        changes_s=np.array(times),
        first=first,
        num_absent=sum(not own for own in sessions),
        digest=digest,
    )


def _checked(rows: Iterable[tuple[int, list[str]]], path: Path, num_clients: int) -> list[list[tuple[float, float]]]:
    """Return the sessions of each client."""
    problems: list[Problem] = []
    sessions: list[list[tuple[float, float]]] = [[] for _ in range(num_clients)]
    for line, row in rows:
        try:
            client, start_s, end_s = int(row[0]), float(row[1]), float(row[2])
            usable = len(row) == len(HEADER) and 0 <= start_s < end_s < math.inf
        except (ValueError, IndexError):
            usable = False
        if not usable:
            message = f"expected client,start_s,end_s with 0 <= start_s < end_s, got {','.join(row)!r}"
            problems.append(Problem(message, file=str(path), line=line))
        elif not 0 <= client < num_clients:
            message = f"there is no client {client}: the fleet has {num_clients:,}, numbered from 0"
            problems.append(Problem(message, file=str(path), line=line))
        else:
            sessions[client].append((start_s, end_s))
    if not problems and not any(sessions):
        problems.append(Problem("there is no session in it: nobody could ever be reached", file=str(path)))
    if problems:
        raise InputError(*problems)
    return sessions


def _merged(sessions: list[tuple[float, float]]) -> list[float]:
    """Return when a client comes and goes, in turn."""
    times: list[float] = []
    for start_s, end_s in sorted(sessions):
        if times and start_s <= times[-1]:
            times[-1] = max(times[-1], end_s)
        else:
            times += [start_s, end_s]
    return times
