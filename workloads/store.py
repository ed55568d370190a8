"""Results of tasks, kept for every later run on this machine that asks for the same.

    records/ab/<key>.json        what a task reported, by the task's key
    states/<digest>.safetensors  what it made, by the sha256 of the file's content
    live/                        which states running processes need (`workloads.leases`)
    claims/                      which tasks they are computing (`workloads.claims`)

Any number of processes may read and write at once: files appear whole, are never changed, and say by a checksum whether
they are still what was written. A store that cannot be written costs time, never a result.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from workloads.claims import UNSHARED, Claim, claim
from workloads.files import TEMPORARY, StateFolder, remove_abandoned, write_whole
from workloads.leases import Lease, needed_states
from workloads.results import DamagedError, Record, SavedState

FORMAT = 1
MAX_BYTES = 5 * 2**30
FOLDER_VARIABLE, SIZE_VARIABLE = "SPLITFT_RESULTS", "SPLITFT_RESULTS_GIB"

_CHECKS_PER_FILL = 64  # how often the size is looked at while as much is written as the store may hold
_KEPT_FRAC = 0.9  # of the bound is left when something has to go, so that it does not have to go at every step

_LOG = logging.getLogger(__name__)


def default_folder() -> Path:
    """Return the user's store: a part of their cache folder, or what SPLITFT_RESULTS names."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else platformdirs.user_cache_path("splitft") / "results"


def store_variables() -> dict[str, str]:
    """Return the environment variables by which a process that works in another folder finds the same store."""
    named = {FOLDER_VARIABLE: str(default_folder().absolute())} if os.environ.get(FOLDER_VARIABLE) else {}
    sized = {SIZE_VARIABLE: os.environ[SIZE_VARIABLE]} if SIZE_VARIABLE in os.environ else {}
    return named | sized


def default_max_bytes() -> int:
    """Return how much the user's store may hold: 5 GiB, or as many as SPLITFT_RESULTS_GIB says.

    Raises:
        ValueError: it says no positive number.
    """
    text = os.environ.get(SIZE_VARIABLE)
    if text is None:
        return MAX_BYTES
    try:
        size_gib = float(text)
    except ValueError:
        size_gib = 0.0
    if not 0 < size_gib < float("inf"):
        raise ValueError(f"{SIZE_VARIABLE}: expected a number of GiB above 0, got {text!r}")
    return int(size_gib * 2**30)


@dataclass(frozen=True, kw_only=True)
class StoreSize:
    """How much a store holds: records and states in number, and their bytes together."""

    num_records: int
    num_states: int
    num_bytes: int


class ResultStore:
    """A folder of results, bounded in size.

    Args:
        folder: where it is; made when something is first kept.
        max_bytes: what is least recently used is removed beyond this.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._home = folder / f"format-{FORMAT}"
        self._states = StateFolder(self._home / "states")
        self._lease: Lease | None = None
        self._needed: dict[str, str] = {}  # the states of tasks that were noted or kept, by the tasks' keys
        self._unchecked_bytes = max_bytes  # written since the size was last looked at: look at the first occasion
        self._is_writable = True

    def recall(self, key: str) -> Record | None:
        """Return what is known of a task; a damaged record is reported and removed."""
        path = self._record_path(key)
        try:
            return _record_of(key, path.read_bytes())
        except OSError:
            return None
        except DamagedError as error:
            _LOG.warning("%s is damaged (%s): the task is computed again", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None

    def load(self, record: Record) -> SavedState | None:
        """Return the state that a task made; None where it is not here any more, or damaged."""
        return None if record.state is None else self._states.load(record.state)

    def claim(self, name: str, *, wait: bool) -> Claim | None:
        """Return the right to compute a task, or a group of tasks; None where another process has it.

        Args:
            name: the task's key, or the group's.
            wait: until the other process has given it up.
        """
        if self._is_writable:
            with self._giving_up_on_errors():
                return claim(self._home / "claims", name, wait=wait)
        return UNSHARED

    def note(self, record: Record, twin: Path | None = None) -> Path | None:  # noqa: ARG002 -- an old result stays where it is
        """Mark a recalled result as used, and need its state; return where that would be."""
        path = None if record.state is None else self._states.path(record.state)
        if self._is_writable:
            with self._giving_up_on_errors():
                self._need(record)
                for file in (self._record_path(record.key), path):
                    if file is not None:
                        with contextlib.suppress(FileNotFoundError):  # another process may just have removed it
                            os.utime(file)
        return path

    def keep(self, record: Record, content: bytes | None, twin: Path | None = None) -> Path | None:
        """Keep a new result and return where its state is; after a first failure nothing is kept any more.

        Args:
            record: of the task.
            content: of its state's file.
            twin: that file elsewhere.
        """
        path = None
        if self._is_writable:
            with self._giving_up_on_errors():
                if record.state is not None:
                    self._need(record)
                    path = self._states.keep(record.state, content, twin)
                text = record.to_json().encode()
                write_whole(self._record_path(record.key), text)
                self._count(len(text) + len(content or b""))
        return path

    def release(self, live: Sequence[str]) -> None:
        """Need only the states of these tasks from now on; those are not removed, by no process."""
        self._needed = {key: self._needed[key] for key in live if key in self._needed}
        if self._is_writable and self._lease is not None:
            with self._giving_up_on_errors():
                self._lease.hold(self._needed.values())

    def close(self) -> None:
        """Need nothing any more."""
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    def size(self) -> StoreSize:
        """Return how much the store holds."""
        records, states = list(self._record_files()), list(_files(self._states.folder.glob("*")))
        num_bytes = sum(size for _, size, _ in [*records, *states])
        return StoreSize(num_records=len(records), num_states=len(states), num_bytes=num_bytes)

    def clear(self) -> StoreSize:
        """Remove everything but the states that running processes need; return what is left.

        Raises:
            OSError: the folder cannot be written.
        """
        if self._home.exists():
            with self._lock():
                remove_abandoned(self._home)
                self._shrink_to(0)
        return self.size()

    def _record_files(self) -> Iterator[tuple[float, int, Path]]:
        return _files((self._home / "records").glob("*/*"))

    def _record_path(self, key: str) -> Path:
        return self._home / "records" / key[:2] / f"{key}.json"

    def _lock(self, *, blocking: bool = True) -> FileLock:
        """Return what whoever removes states holds meanwhile, and whoever begins to need one for a moment."""
        self._home.mkdir(parents=True, exist_ok=True)
        return FileLock(self._home / "shrink.lock", blocking=blocking)

    def _need(self, record: Record) -> None:
        if record.state is not None:
            self._needed[record.key] = record.state
            self._lease = self._lease or Lease(self._home / "live")
            with self._lock():
                self._lease.add(record.state)

    def _count(self, num_bytes: int) -> None:
        """Look at the size now and then; another process that is already at it does so for all."""
        self._unchecked_bytes += num_bytes
        if self._unchecked_bytes * _CHECKS_PER_FILL < self.max_bytes:
            return
        self._unchecked_bytes = 0
        with contextlib.suppress(Timeout), self._lock(blocking=False):
            remove_abandoned(self._home)
            if self.size().num_bytes > self.max_bytes:
                self._shrink_to(int(self.max_bytes * _KEPT_FRAC))

    def _shrink_to(self, max_bytes: int) -> None:
        """Remove what was used longest ago: states first, then records, which are small and worth much."""
        states = sorted(_files(self._states.folder.glob("*")))
        records = sorted(self._record_files())
        needed = needed_states(self._home / "live")  # after the files are listed: a state is needed before it is there
        num_bytes = sum(size for _, size, _ in [*states, *records])
        for _, size, path in [*states, *records]:
            if num_bytes <= max_bytes:
                break
            if path.stem not in needed:
                with contextlib.suppress(OSError):
                    path.unlink()
                    num_bytes -= size

    @contextlib.contextmanager
    def _giving_up_on_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._is_writable = False
            _LOG.warning("results cannot be remembered in %s (%s): the run goes on without", self.folder, error)


def _record_of(key: str, content: bytes) -> Record:
    """Return the record of a task's file.

    Raises:
        DamagedError: the content is damaged, or another task's.
    """
    record = Record.from_json(content)
    if record.key != key:
        raise DamagedError(f"it is of another task, {record.key}")
    return record


def _files(paths: Iterable[Path]) -> Iterator[tuple[float, int, Path]]:
    """Yield time of last use, bytes and path of each finished file."""
    for path in paths:
        with contextlib.suppress(OSError):  # another process has removed it
            status = path.stat()
            if path.suffix != TEMPORARY:
                yield status.st_mtime, status.st_size, path
