"""What a trainer that remembers asks of a place where results are kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from workloads.results import Record, SavedState


class Memory(Protocol):
    """A place where results are kept. Its files may be linked from one memory to the next, called the *twin*."""

    def recall(self, key: str) -> Record | None:
        """Return what is known of a task."""

    def load(self, record: Record) -> SavedState | None:
        """Return the state that a task made, if it is here and sound."""

    def note(self, record: Record, twin: Path | None) -> Path | None:
        """Learn that a recalled result is in use; return where its state is, if it is here."""

    def keep(self, record: Record, content: bytes | None, twin: Path | None) -> Path | None:
        """Keep a new result, with its state's content; return where its state is, if it is here."""

    def release(self, live: Sequence[str]) -> None:
        """Learn that only the states of these tasks are needed from now on."""

    def close(self) -> None:
        """Learn that nothing is needed any more."""
