"""What the sections of a scenario are made of: strictness, kinds of values, and checks that keys agree."""

import re
from operator import attrgetter
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

MAX_SEED = 2**63 - 1  # the largest seed that every library behind takes
MAX_COUNT = 10_000_000  # as many as a fleet has clients; more of anything is a slip of the keyboard
MAX_SMALL = 100_000

Section = TypeVar("Section")


def matching(pattern: str, wording: str) -> AfterValidator:
    """Return a check that the whole text matches `pattern`; `wording` completes "expected ..."."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise PydanticCustomError("text_form", "expected {wording}", {"wording": wording})
        return text

    return AfterValidator(check)


def agreeing(section: Section, *rules: tuple[bool, str, str]) -> Section:
    """Return the section, or raise one error at the dotted key of each (broken, key, message) rule that is broken."""
    errors = [
        InitErrorDetails(
            type=PydanticCustomError("disagreement", "{message}", {"message": message}),
            loc=tuple(key.split(".")),
            input=attrgetter(key)(section),
        )
        for broken, key, message in rules
        if broken
    ]
    if errors:
        raise ValidationError.from_exception_data(type(section).__name__, errors)
    return section


Id = Annotated[
    str,
    matching(
        r"[a-z0-9][a-z0-9._-]{0,63}",
        "an id: lower-case letters, digits, '.', '_' and '-', first a letter or digit, at most 64 characters",
    ),
]
Text = Annotated[str, Field(min_length=1), matching(r"[^\0]*", "text without a null character")]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Small = Annotated[int, Field(ge=1, le=MAX_SMALL)]  # a count of what is held in memory for each client of a round
Cut = Count  # decoder blocks on the client; the model's number of blocks is the upper bound, checked when it is known
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
PositivePart = Annotated[float, Field(gt=0, le=1)]
Part = Annotated[float, Field(gt=0, lt=1)]  # a fraction that leaves something on both sides

Discipline = Literal["fifo", "priority", "processor-sharing"]  # who is served next at the server
