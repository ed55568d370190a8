"""Numbers as catalogue files state them: plain, or with kind, source and note."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from devices.problems import InputError, Problem
from devices.profiles import Provenance

STRICT = ConfigDict(extra="forbid", strict=True)
ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

Kind = Literal["vendor", "measured", "derived", "third-party", "recalled", "assumed", "user"]
Confidence = Literal["high", "medium", "low", "not stated"]

LEAST, MOST = 1e-9, 1e9
"""Bounds of a number above 0 in its human unit: beyond them costs overflow, and a slip of the keyboard is likelier."""
MOST_LN_SIGMA = 10.0
"""Of the standard deviation of a logarithm: at 10, one value in six is 22,000 times the median or more."""
MOST_LN_MEAN = 20.0
"""Of the absolute mean of a logarithm: exp(20) is half of `MOST`."""

NO_DOCUMENT = {
    "recalled": "no document: recalled when the catalogue was compiled",
    "assumed": "no document: assumed when the catalogue was compiled",
}


def check_id(name: str) -> str:
    """Return the name of a catalogue entry unchanged.

    Raises:
        ValueError: It is not a lower-case letter or digit followed by at most 63 of `a-z 0-9 . _ -`.
    """
    if not ID_PATTERN.fullmatch(name):
        msg = f"'{name}' is no id: use a-z, 0-9, '.', '_' and '-' (at most 64, the first a letter or digit)"
        raise ValueError(msg)
    return name


def own_id(name: str) -> str:
    """Return the id that a user gives to a file of their own, unchanged.

    Raises:
        InputError: It is none (`check_id`).
    """
    try:
        return check_id(name)
    except ValueError as error:
        raise InputError(Problem(str(error), value=name)) from None


Id = Annotated[str, AfterValidator(check_id)]
Above = Annotated[float, Field(ge=LEAST, le=MOST)]
Share = Annotated[float, Field(ge=LEAST, le=1)]
LnMean = Annotated[float, Field(ge=-MOST_LN_MEAN, le=MOST_LN_MEAN)]
LnSigma = Annotated[float, Field(ge=0, le=MOST_LN_SIGMA)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Stated:
    """Origin of a number in a file; a user's file may leave all of it out."""

    kind: Kind = "user"
    source: str | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PositiveNumber(Stated):
    """A number above 0 with its origin."""

    value: Above


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NonNegativeNumber(Stated):
    """The spread of a number, at least 0, with its origin."""

    value: LnSigma


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FractionNumber(Stated):
    """A share above 0 and at most 1 with its origin."""

    value: Share


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CorrelationNumber(Stated):
    """A number from -1 to 1 with its origin."""

    value: Annotated[float, Field(ge=-1, le=1)]


Positive = Above | PositiveNumber
NonNegative = LnSigma | NonNegativeNumber
Fraction = Share | FractionNumber
Correlation = Annotated[float, Field(ge=-1, le=1)] | CorrelationNumber

Number = float | PositiveNumber | NonNegativeNumber | FractionNumber | CorrelationNumber


def value_of(number: Number) -> float:
    """Return the bare number."""
    return number if isinstance(number, int | float) else number.value


def origin_of(number: float | Stated, source: str | None, file: str) -> Provenance:
    """Return where a number comes from.

    Args:
        number: As stated in the file; a plain number is the user's own.
        source: The source that the file names for all its numbers.
        file: The file's name, which is the source of what has no other.
    """
    name = Path(file).name
    if not isinstance(number, Stated):
        return Provenance(kind="user", source=name)
    return Provenance(
        kind=number.kind,
        source=number.source or NO_DOCUMENT.get(number.kind) or source or name,
        note=number.note,
    )
