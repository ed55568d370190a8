"""Where the values of a scenario stand, so that whatever is found wrong with one later is told at its place.

The check of a file knows lines. What is found when a scenario is resolved (a device that is unknown, a cut that the
model does not have) knows keys only; here a key becomes the override that set it, or else a line of the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from devices.problems import InputError, Problem, dotted
from devices.strict_yaml import Document
from simulator.overrides import SOURCE, Override


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a scenario was read from.

    Attributes:
        document: The content of its file as overridden; the lines are those of what stands in the file still.
        overrides: What was changed.
        name: What the user called it.
        is_shipped: Whether the file is one of the package, whose lines a user never sees.
    """

    document: Document
    overrides: tuple[Override, ...]
    name: str
    is_shipped: bool

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Place every problem that knows only its key."""
        try:
            yield
        except InputError as error:
            raise InputError(*map(self.place, error.problems)) from None

    def blame(self, error: InputError) -> InputError:
        """Return what the check of the document found, with the override in place of the line where one is to blame.

        A shipped file is right by itself: whatever is wrong with it is the doing of the overrides.
        """
        if self.is_shipped and self.overrides:
            return InputError(*(replace(problem, file=SOURCE, line=None) for problem in error.problems))
        return InputError(*map(self._blamed, error.problems))

    def place(self, problem: Problem) -> Problem:
        """Return a problem that knows only its key with the place of that key; files know theirs."""
        if problem.file is not None or problem.key is None:
            return problem
        return self._blamed(replace(problem, file=self.name, line=None if self.is_shipped else self._line(problem.key)))

    def _blamed(self, problem: Problem) -> Problem:
        if any(self._led_to(problem.key, override) for override in self.overrides):
            return replace(problem, file=SOURCE, line=None)
        return problem

    def _led_to(self, key: str | None, override: Override) -> bool:
        """Return whether an override set a key, or made the section that lacks it."""
        overridden = dotted(override.path)
        if key is None or overridden is None:
            return False
        within = f"{key}.".startswith(f"{overridden}.")
        led_to = f"{overridden}.".startswith(f"{key}.") and key not in self._lines
        return within or led_to

    def _line(self, key: str) -> int | None:
        """Return the line of a key or of the innermost section around it; an id in a key may have dots of its own."""
        parts = key.split(".")
        around = (".".join(parts[:length]) for length in range(len(parts), -1, -1))
        return next((self._lines[place] for place in around if place in self._lines), None)

    @property
    def _lines(self) -> dict[str, int]:
        return {dotted(path) or "": line for path, line in self.document.lines.items()}
