"""A line now and then for whoever reads a log: what a bar is on a terminal."""

import time
from collections.abc import Callable

from rich.console import Console

from splitft.show import duration

EVERY_S = 30.0


class PlainLines:
    """Prints how far something is, at most once in `every_s` seconds of wall time, and not before so many have passed.

    Args:
        terminal: where to print.
        shown: whether to print at all.
        every_s: seconds from one line to the next.
        now_s: gives the time.
    """

    def __init__(
        self,
        terminal: Console,
        *,
        shown: bool,
        every_s: float = EVERY_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminal, self._shown, self._every_s, self._now_s = terminal, shown, every_s, now_s
        self._last_s = self._began_s = now_s()

    def begin(self) -> None:
        """Begin with the work of which the time that is left is estimated."""
        self._began_s = self._now_s()

    def say(self, words: str, done_frac: float | None = None) -> None:
        """Print a line if it is time; with the time that is left, where it is known how much of the work is done."""
        now_s = self._now_s()
        if not self._shown or now_s - self._last_s < self._every_s:
            return
        self._last_s = now_s
        if done_frac:
            words += f", about {duration((now_s - self._began_s) * (1 / done_frac - 1))} left"
        self._terminal.print(words, soft_wrap=True, markup=False)
