"""Which states running processes still need, told to each other through files that die with their owners.

A process locks a file of its own and lists beside it what it needs. The operating system frees the lock when the
process ends, however it ends; whoever finds a free lock knows that its owner has gone.
"""

import contextlib
import uuid
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK, _LIST = ".lock", ".txt"
_PATIENCE_S = 10  # somebody may just be looking whether the new lock is free


class Lease:
    """What one process needs, for as long as it lives or until `close`.

    Args:
        folder: where all processes put their leases.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        self._list = folder / f"{name}{_LIST}"
        self._lock_file = folder / f"{name}{_LOCK}"
        self._lock = FileLock(self._lock_file, thread_local=False)
        self._lock.acquire(timeout=_PATIENCE_S)

    def add(self, digest: str) -> None:
        """Need one more state from now on."""
        with self._list.open("a", encoding="ascii") as needed:
            needed.write(f"{digest}\n")

    def hold(self, digests: Iterable[str]) -> None:
        """Need these states from now on, and no others."""
        aside = self._list.with_suffix(".new")
        aside.write_text("".join(f"{digest}\n" for digest in dict.fromkeys(digests)), encoding="ascii")
        aside.replace(self._list)

    def close(self) -> None:
        """Need nothing any more."""
        _remove(self._list, self._lock_file)
        self._lock.release()


def needed_states(folder: Path) -> frozenset[str]:
    """Return the digests of all states that some living process needs; forget the lists of dead ones."""
    needed = list[str]()
    for lock_file in folder.glob(f"*{_LOCK}"):
        listed = lock_file.with_suffix(_LIST)
        lock = FileLock(lock_file)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            with contextlib.suppress(FileNotFoundError):  # its owner has yet to need something
                needed += listed.read_text(encoding="ascii").split()
        else:
            _remove(listed, lock_file)
            lock.release()
    return frozenset(needed)


def _remove(*files: Path) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink()
