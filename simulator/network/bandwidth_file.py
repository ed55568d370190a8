"""A file of bandwidths: what each client's connection could carry over time, as somebody has measured it.

A CSV file with the header `client,time_s,downlink_mbit_per_s,uplink_mbit_per_s` and one row for each change, in any
order: from that time on the client has these rates. `server` in place of a number means the server's connection; its
downlink carries what clients send. Zero means that nothing gets through until the next row.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from devices.problems import InputError, Problem
from devices.units import LEAST_MBIT_PER_S, bytes_per_s_from_mbit_per_s
from simulator.data.csv_file import read_csv
from simulator.network.bandwidth import Recorded

HEADER: Final = ["client", "time_s", "downlink_mbit_per_s", "uplink_mbit_per_s"]
SERVER: Final = "server"


@dataclass(frozen=True, kw_only=True, slots=True)
class BandwidthRecord:
    """One connection over time.

    Attributes:
        times_s: rising, from 0.
        downlink_bytes_per_s, uplink_bytes_per_s: one for each time.
    """

    times_s: tuple[float, ...]
    downlink_bytes_per_s: tuple[float, ...]
    uplink_bytes_per_s: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class BandwidthTrace:
    """The records of a file.

    Attributes:
        records: by client, or `server`.
        period_s: after which they begin again; infinity: never.
        digest: sha256 of the file, in hex.
    """

    records: Mapping[int | str, BandwidthRecord]
    period_s: float
    digest: str

    def courses(self, whose: int | str, downlink: float, uplink: float) -> tuple[Recorded, Recorded] | None:
        """Return the courses of a connection down and up; None where the file has nothing of it.

        Args:
            whose: client, or `server`.
            downlink: bytes/s towards it before its first row.
            uplink: the same from it.
        """
        record = self.records.get(whose)
        if record is None:
            return None
        return (
            Recorded(downlink, record.times_s, record.downlink_bytes_per_s, self.period_s),
            Recorded(uplink, record.times_s, record.uplink_bytes_per_s, self.period_s),
        )


def read_bandwidths(path: Path, num_clients: int, period_s: float | None) -> BandwidthTrace:
    """Return the records that a file holds.

    Raises:
        InputError: the file cannot be read, rows in it cannot be used, or a connection would stand still for good;
            everything of the kind is named.
    """
    rows, digest = read_csv(path, HEADER)
    points = _checked(rows, path, num_clients, math.inf if period_s is None else period_s)
    return BandwidthTrace(
        records={whose: _record(own) for whose, own in points.items()},
        period_s=math.inf if period_s is None else period_s,
        digest=digest,
    )


Points = list[tuple[float, float, float, int]]
"""Time, downlink and uplink as the file has them, and the line."""


def _checked(
    rows: Iterable[tuple[int, list[str]]], path: Path, num_clients: int, period_s: float
) -> Mapping[int | str, Sequence[tuple[float, float, float, int]]]:
    """Return the points of each connection in order of time."""
    problems: list[Problem] = []
    found: dict[int | str, Points] = {}
    for line, row in rows:
        problem = _add(row, line, found, num_clients, period_s)
        if problem:
            problems.append(Problem(problem, file=str(path), line=line))
    for whose, points in found.items():
        points.sort()
        problems.extend(_unusable(whose, points, path, period_s))
    if not problems and not found:
        problems.append(Problem("there is no row in it", file=str(path)))
    if problems:
        raise InputError(*problems)
    return found


def _add(row: list[str], line: int, found: dict[int | str, Points], num_clients: int, period_s: float) -> str:
    """Note one row; return what is wrong with it."""
    try:
        name, time_s, downlink, uplink = row[0].strip(), *map(float, row[1:])
        whose = SERVER if name == SERVER else int(name)
        usable = all(0 <= number < math.inf for number in (time_s, downlink, uplink))
    except ValueError:
        usable = False
    if not usable:
        return f"expected {','.join(HEADER)} with numbers of at least 0, got {','.join(row)!r}"
    if any(0 < rate < LEAST_MBIT_PER_S for rate in (downlink, uplink)):
        return f"a rate is 0, or at least {LEAST_MBIT_PER_S:g} Mbit/s (1 byte/s), got {','.join(row)!r}"
    if isinstance(whose, int) and not 0 <= whose < num_clients:
        return f"there is no client {whose}: the fleet has {num_clients:,}, numbered from 0"
    if time_s >= period_s:
        return f"time_s must be below network.trace.period_s ({period_s:g}), got {time_s:g}"
    found.setdefault(whose, []).append((time_s, downlink, uplink, line))
    return ""


def _unusable(whose: int | str, points: Points, path: Path, period_s: float) -> Iterable[Problem]:
    """Return what is wrong with all points of a connection together."""
    who = "the server" if whose == SERVER else f"client {whose}"
    for earlier, later in pairwise(points):
        if earlier[0] == later[0]:
            yield Problem(f"{who} has two rows for time_s {later[0]:g}", file=str(path), line=later[-1])
    for column, name in ((1, "downlink"), (2, "uplink")):
        deciding = points if period_s < math.inf else points[-1:]
        if not any(point[column] for point in deciding):
            how = "is never above 0" if period_s < math.inf else "ends at 0"
            message = f"the {name} of {who} {how}: messages would wait for good"
            yield Problem(message, file=str(path), line=points[-1][-1])


def _record(points: Sequence[tuple[float, float, float, int]]) -> BandwidthRecord:
    times_s, downlinks, uplinks, _ = zip(*points, strict=True)
    return BandwidthRecord(
        times_s=times_s,
        downlink_bytes_per_s=tuple(map(bytes_per_s_from_mbit_per_s, downlinks)),
        uplink_bytes_per_s=tuple(map(bytes_per_s_from_mbit_per_s, uplinks)),
    )
