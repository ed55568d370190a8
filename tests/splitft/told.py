"""What the command line says of bad input, taken apart: where, which key, and what of it."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Told:
    """One line of standard error: `error: FILE:LINE: KEY: message`.

    Attributes:
        place: a file, `file:line`, or `--set`; empty where the line names none.
        key: of the scenario; empty where the line names none.
        message: the rest.
    """

    place: str
    key: str
    message: str


KEY = re.compile(r"[a-z_]+(\.[a-z0-9_-]+)*")


def told(standard_error):
    """Return what was told, in order; no other line may stand there, but the empty one of a progress bar."""
    lines = [line for line in standard_error.splitlines() if line]
    assert lines
    assert all(line.startswith("error: ") for line in lines), standard_error
    return [_taken_apart(line.removeprefix("error: ")) for line in lines]


def places(standard_error):
    """Return (place, key) of each problem, in order."""
    return [(problem.place, problem.key) for problem in told(standard_error)]


def _taken_apart(line):
    place, _, rest = line.partition(": ")
    key, colon, message = rest.partition(": ")
    if colon and KEY.fullmatch(key):
        return Told(place, key, message)
    return Told(place, "", rest)
