"""Results of one run in its own folder: what a resume needs, whatever becomes of the store.

    tasks.jsonl                  every finished task's record, one a line, in order
    states/<digest>.safetensors  the states that later tasks start from, by the sha256 of the file's content

Records are small and all kept. A state is removed as soon as no task will start from it: after a round the global
adapter and each client's last training are left.
"""

import errno
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from workloads.files import StateFolder, remove_abandoned
from workloads.results import DamagedError, Record, SavedState

JOURNAL, STATES = "tasks.jsonl", "states"

_LOG = logging.getLogger(__name__)


class RunResults:
    """The results of a run that this process alone is at work on.

    Args:
        folder: made when the first result is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journal = folder / JOURNAL
        self._states = StateFolder(folder / STATES)
        self._records = self._read()
        self._written: set[str] = set()  # keys of the tasks that this process has added to the journal
        self._met: dict[str, str] = {}  # states that this process has met and that are here, by their tasks' keys
        self._is_writable = True
        remove_abandoned(folder, older_than_s=0)

    def recall(self, key: str) -> Record | None:
        """Return what is known of a task from before this process; None where it has yet to be done."""
        return self._records.get(key)

    def load(self, record: Record) -> SavedState | None:
        """Return the state that a task made; None where it is not here any more, or damaged."""
        return None if record.state is None else self._states.load(record.state)

    def note(self, record: Record, twin: Path | None = None) -> Path | None:
        """Take over a recalled result; return where its state is, if it is here.

        Args:
            record: of the task; from here or from elsewhere.
            twin: where the file of its state is elsewhere.
        """
        if record.key in self._records:
            self._meet(record)
            return None if record.state is None else self._states.path(record.state)
        return self.keep(record, None, twin)

    def keep(self, record: Record, content: bytes | None, twin: Path | None = None) -> Path | None:
        """Keep a new result and return where its state is; after a first failure nothing is kept any more.

        Args:
            record: of the task.
            content: of its state's file; None to take that of the twin.
            twin: that file elsewhere.
        """
        if not self._is_writable:
            return None
        try:
            path = None if record.state is None else self._states.keep(record.state, content, twin)
            if self._records.get(record.key) != record and record.key not in self._written:
                self._append(record)
                self._written.add(record.key)
            self._meet(record)
        except OSError as error:
            self._give_up(error)
            return None
        return path

    def release(self, live: Sequence[str]) -> None:
        """Remove the states that this process has met and that are not of these tasks.

        A resumed run first meets the tasks of early rounds again; what it has not met yet is of its future.
        """
        needed = {key: self._met[key] for key in live if key in self._met}
        kept = frozenset(needed.values())
        if not self._is_writable:
            return  # what is here is all that a resume will have
        try:
            if self._journal.exists():
                self._sync()  # before the states that it makes superfluous go
            for digest in dict.fromkeys(self._met.values()):
                if digest not in kept:
                    self._states.path(digest).unlink(missing_ok=True)
        except OSError as error:
            self._give_up(error)
        self._met = needed

    def close(self) -> None:
        """Do nothing: every result is where it belongs as soon as it is kept."""

    def _read(self) -> dict[str, Record]:
        """Return the records of the journal by key, and cut off a last line that was never finished."""
        try:
            content = self._journal.read_bytes()
        except FileNotFoundError:
            return {}
        whole, newline, _ = content.rpartition(b"\n")
        if len(whole) + len(newline) < len(content):
            os.truncate(self._journal, len(whole) + len(newline))
        records = {}
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = Record.from_json(line)
            except DamagedError as error:
                _LOG.warning("%s:%d is damaged (%s): the task is computed again", self._journal, number, error)
            else:
                records[record.key] = record
        return records

    def _append(self, record: Record) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        line = f"{record.to_json()}\n".encode()
        with self._journal.open("ab", buffering=0) as journal:
            if journal.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _sync(self) -> None:
        with self._journal.open("rb+") as journal:
            os.fsync(journal.fileno())

    def _meet(self, record: Record) -> None:
        if record.state is not None:
            self._met[record.key] = record.state

    def _give_up(self, error: OSError) -> None:
        self._is_writable = False
        _LOG.warning("results cannot be kept in %s (%s): a resume would start from those before", self.folder, error)
