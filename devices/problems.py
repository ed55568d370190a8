"""What is wrong with a user's input, told so that it can be put right."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_SHOWN = 50
"""Problems that one message shows; a long list that is wrong throughout needs no more."""
MAX_VALUE_CHARACTERS = 60

MIN_LIKENESS = 0.6
BEGINNING_COUNTS = 0.9
"""A likeness of beginnings counts a little less than one of whole words."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input.

    Attributes:
        message: What is wrong and what is allowed, without the place.
        file: The file as the user named it; None for a value of the command line.
        line: Counted from 1.
        key: Dotted path of keys and list positions, such as `fleet.clients.0.device`.
        value: The value that was refused, as read.
    """

    message: str
    file: str | None = None
    line: int | None = None
    key: str | None = None
    value: object = None

    def __str__(self) -> str:
        """Return `file:line: key: message`, leaving out what is unknown."""
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message) if part)


class InputError(Exception):
    """The input cannot be used; `problems` lists everything that was found wrong with it."""

    problems: tuple[Problem, ...]

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        """Return one line a problem."""
        lines = [str(problem) for problem in self.problems[:MAX_SHOWN]]
        if len(self.problems) > MAX_SHOWN:
            lines.append(f"... and {len(self.problems) - MAX_SHOWN} more problems")
        return "\n".join(lines)


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest of the allowed words, or nothing where none is near.

    A word may be near a longer one's beginning: `rpi6` is near `rpi5-8gb`. Of equals the last is taken.
    """
    scored = [(_likeness(word.lower(), name.lower()), position, name) for position, name in enumerate(allowed)]
    score, _, nearest = max(scored, default=(0.0, 0, ""))
    return f"; did you mean '{nearest}'?" if score >= MIN_LIKENESS else ""


def _likeness(word: str, name: str) -> float:
    """Return from 0 to 1 how much of a word is in a name, or in its beginning."""
    whole = difflib.SequenceMatcher(None, word, name).ratio()
    beginning = difflib.SequenceMatcher(None, word, name[: len(word)]).ratio()
    return max(whole, beginning * BEGINNING_COUNTS) if len(word) >= 3 else whole


def dotted(path: Sequence[str | int]) -> str | None:
    """Return a path of keys as users read it, or None for the top level."""
    return ".".join(str(part) for part in path) or None


def shown(value: object) -> str:
    """Return a value as messages show it: text in quotes, shortened; a section or list by what it is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}..."
