"""A bar that is on the terminal while something goes on."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn


class Bar:
    """A progress bar, shown as long as it is entered; those who say what is on it are made of this.

    Args:
        columns: of the bar.
        terminal: where to show it.
        shown: whether to show it at all.
    """

    def __init__(self, *columns: ProgressColumn, terminal: Console, shown: bool) -> None:
        self._bar = Progress(*columns, console=terminal, transient=True, disable=not shown)

    def __enter__(self) -> Self:
        """Start showing."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop showing."""
        self._bar.stop()
