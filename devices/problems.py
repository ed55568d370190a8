"""What is wrong with a user's input, told so that it can be put right."""

import difflib
import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Never, TypeVar

T = TypeVar("T")

MAX_SHOWN = 50
"""Problems that one message shows; a long list that is wrong throughout needs no more."""
MAX_VALUE_CHARACTERS = 60

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""What is no problem of the input: numbers of the errors that say that there is no room left."""

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


class Findings:
    """Everything that is wrong with several parts of an input, told at once; a part may need others.

    What a part found, and the problems that kept it from being found, are both remembered: who asks for a part that
    could not be found is left out too, without a word, since its own problems are known only when that part is right.
    """

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def __bool__(self) -> bool:
        """Return whether anything is wrong so far."""
        return bool(self._problems)

    def find(self, look: Callable[[], T]) -> Callable[[], T]:
        """Look for one part now; return how to get it."""
        try:
            found = look()
        except InputError as error:
            self._problems += error.problems
            return _missing
        return lambda: found

    def tell(self) -> None:
        """Raise InputError with every problem, each once, where there is any."""
        if self._problems:
            unique = {(str(problem), problem.line): problem for problem in self._problems}
            raise InputError(*unique.values())


def _missing() -> Never:
    raise InputError  # its problems stand with the part that is missing


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest of the allowed words, or nothing where none is near.

    A word may be near a longer one's beginning: `rpi6` is near `rpi5-8gb`; marks between its parts may be missing:
    `rtx3060` is near `rtx-3060-12gb`. Of equals the last is taken.
    """
    scored = [
        (max(_likeness(word.lower(), name.lower()), _likeness(_bare(word), _bare(name))), position, name)
        for position, name in enumerate(allowed)
    ]
    score, _, nearest = max(scored, default=(0.0, 0, ""))
    return f"; did you mean '{nearest}'?" if score >= MIN_LIKENESS else ""


def _bare(word: str) -> str:
    """Return the letters and digits of a word alone."""
    return "".join(filter(str.isalnum, word.lower()))


def _likeness(word: str, name: str) -> float:
    """Return from 0 to 1 how much of a word is in a name, or in its beginning if that has the same first letter."""
    whole = difflib.SequenceMatcher(None, word, name).ratio()
    if len(word) < 3 or word[:1] != name[:1]:
        return whole
    beginning = difflib.SequenceMatcher(None, word, name[: len(word)]).ratio()
    return max(whole, beginning * BEGINNING_COUNTS)


def dotted(path: Sequence[str | int]) -> str | None:
    """Return a path of keys as users read it, or None for the top level."""
    return ".".join(str(part) for part in path) or None


def shown(value: object) -> str:
    """Return a value as messages show it: text in quotes, shortened; a section or list by what it is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return f"{'a' if value else 'an empty'} {'mapping' if isinstance(value, dict) else 'list'}"
    text = repr(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}..."
