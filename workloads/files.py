"""Files that are whole or not there, and states under the names of their content."""

import contextlib
import logging
import os
import shutil
import time
import uuid
from pathlib import Path

from workloads.results import DamagedError, SavedState, open_state

TEMPORARY = ".tmp"
ABANDONED_S = 3600  # a temporary file this old belongs to nobody: writing one takes seconds

_LOG = logging.getLogger(__name__)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that its name never shows a part of it, not even after a power failure.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def remove_abandoned(folder: Path, *, older_than_s: float = ABANDONED_S) -> None:
    """Remove what writers that were killed have left in a folder and below."""
    for aside in folder.rglob(f"*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            if time.time() - aside.stat().st_mtime >= older_than_s:
                aside.unlink()


class StateFolder:
    """States as files, each named by the sha256 of its content, so that equal ones are kept once and none is stale."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Return where a state is, or would be."""
        return self.folder / f"{digest}.safetensors"

    def keep(self, digest: str, content: bytes | None, twin: Path | None) -> Path | None:
        """Keep a state and return where it is; None where neither its content nor a twin is to be had.

        Args:
            digest: of the content.
            content: of the file; None to take the twin's.
            twin: the same file elsewhere; it is linked rather than written again where the file system can.

        Raises:
            OSError: it cannot be written.
        """
        path = self.path(digest)
        if path.exists():
            return path
        if twin is not None and _linked(twin, path):
            return path
        if content is None:
            return None
        write_whole(path, content)
        return path

    def load(self, digest: str) -> SavedState | None:
        """Return a state; None where it is not here. A damaged file is reported and removed."""
        path = self.path(digest)
        try:
            return open_state(path.read_bytes(), digest)
        except FileNotFoundError:
            return None
        except OSError as error:
            _LOG.warning("%s cannot be read (%s): what it holds is computed again", path, error)
            return None
        except DamagedError as error:
            _LOG.warning("%s is damaged (%s): what it held is computed again", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None


def _linked(twin: Path, path: Path) -> bool:
    """Return whether a file is now under a second name, or copied where it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(twin, path)
    except FileExistsError:
        return True
    except FileNotFoundError:
        return False
    except OSError:  # another file system, or one without links
        aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
        try:
            shutil.copyfile(twin, aside)
            aside.replace(path)
        except FileNotFoundError:
            return False
        finally:
            aside.unlink(missing_ok=True)
    return True
