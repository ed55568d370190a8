"""Who is computing a task, told to other processes by a lock that dies with its owner.

Whoever claims a task looks once more whether it has been done meanwhile, computes it, keeps the result and only then
gives the claim up. So a task is computed once, unless its owner is killed or fails: then the next one takes it over.
"""

import contextlib
from pathlib import Path

from filelock import FileLock, Timeout

_POLL_S = 0.02
_FOREVER_S = 1e9  # to wait without end is refused where this thread has a claim of the same name, which another may end


class Claim:
    """The right to compute something, until `finish` or `release`, or the end of the process."""

    def __init__(self, file: Path | None, lock: FileLock | None) -> None:
        self._file, self._lock = file, lock

    def finish(self) -> None:
        """Let others take over the result, which is kept by now. The lock's file goes while it is still held."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let somebody else compute it."""
        if self._lock is not None:
            self._lock.release()


UNSHARED = Claim(None, None)
"""Where nobody can be told, everybody computes for themselves."""


def claim(folder: Path, name: str, *, wait: bool) -> Claim | None:
    """Return the right to compute what a name stands for; None where another process has it.

    Args:
        folder: where all processes put their claims.
        name: of a task, or of tasks that are computed together.
        wait: until the other process has given it up.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.lock"
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=_FOREVER_S if wait else 0, poll_interval=_POLL_S)
    except Timeout:
        return None
    return Claim(file, lock)
