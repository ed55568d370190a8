"""Writes the run folder of `runs.py`.

The folder is made after everything else has been validated, with `status: running`; every file is written aside, synced
and renamed; `status: finished` comes last. An exception leaves `failed` (Ctrl-C: `interrupted`) and the error's text in
run.json, and what was finished, for a resume; where nothing was finished yet the folder is removed. A kill leaves
`running`. Nothing that existed before is touched, but in a resume, which writes the same files once more. One process
at a time is at work on a folder: it holds a lock in it, which ends with the process.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from devices.problems import FULL_DISK
from simulator.records.parquet_files import GrowingTable, Save, save_parquet, write_atomic
from simulator.records.runs import FolderTables, MemoryTables, RunFolderError, RunRecords, Tables, read_run
from simulator.records.schemas import ROUND_SCHEMAS, SCHEMA, TABLE_SCHEMAS, ClientRow, EvalRow, RoundRow
from simulator.records.span_log import SPAN_LOGS

LOCK = ".lock"


class RunLock:
    """The right to write into a run folder, until `release` or the end of the process.

    Raises:
        RunFolderError: another process has it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / LOCK
        self._lock = FileLock(self._file, thread_local=False)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise RunFolderError(f"{folder}: another process is at work on this run") from None

    def release(self) -> None:
        """Let others write, if this has not been done; the lock's file goes, while it is still held."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)
            self._lock.release()


class RunWriter:
    """Records one run, in a new folder or (folder None) in memory; `with` marks the folder when the run fails.

    Attributes:
        folder: the run folder, where there is one.
        spans: the span log that protocols write to.

    Args:
        folder: to be made; None to keep everything in memory.
        meta: the head of run.json.
        spans: how much to write down of where the time went, a key of `SPAN_LOGS`.
        lock: of a folder that is there, in which an interrupted run is recorded once more; None for a new one.

    Raises:
        FileExistsError: the folder exists, and there is no lock of it; it is left as it is.
        RunFolderError: the folder cannot be made.
    """

    def __init__(
        self, folder: Path | None, meta: Mapping[str, Any], *, spans: str = "steps", lock: RunLock | None = None
    ) -> None:
        self._meta = {"schema": SCHEMA, "status": "running", **_plain(meta)}
        self._rows = {name: GrowingTable(name, schema, folder) for name, schema in TABLE_SCHEMAS.items()}
        self.folder = folder
        self._tables: Tables
        if folder is None:
            self._tables = tables = MemoryTables()
            self._save: Save = tables.__setitem__
        else:
            self._made = _make(folder, exist_ok=lock is not None)
            self._lock = lock or RunLock(folder)
            _save_meta(folder, self._meta)
            self._tables = FolderTables(folder)
            self._save = partial(save_parquet, folder)
        self.spans = SPAN_LOGS[spans](self._save)

    def add_client(self, row: ClientRow) -> None:
        """Record what one client did in one round."""
        self._rows["clients"].add(row)

    def add_eval(self, row: EvalRow) -> None:
        """Record an evaluation."""
        self._rows["evals"].add(row)

    def end_round(self, row: RoundRow) -> None:
        """Record a round whose spans are complete, and store them."""
        self._rows["rounds"].add(row)
        self.spans.flush_round(row.round)

    def records(self) -> RunRecords:
        """Return everything recorded so far, as a reader will see it: a summary for `finish` is made from this."""
        for table in self._rows.values():
            table.save(self._save)
        if self.folder is not None:
            kept = {name for folder in ROUND_SCHEMAS for name in self._tables.names(folder)}
            for name in kept.difference(self.spans.names):
                (self.folder / f"{name}.parquet").unlink()  # an interrupted attempt's, of another version of splitft
        return RunRecords({**self._meta, "spans_sha256": self.spans.sha256}, self._tables)

    def finish(self, **meta: Any) -> RunRecords:
        """Complete the run with the last entries of run.json (versions, summary, host) and return its records."""
        records = self.records()
        records.meta |= _plain(meta)
        records.meta["status"] = "finished"
        if self.folder is None:
            return records
        for name in ROUND_SCHEMAS:
            if (self.folder / name).is_dir():
                _sync_folder(self.folder / name)
        _sync_folder(self.folder)
        _save_meta(self.folder, records.meta)
        _sync_folder(self.folder)
        self._meta = records.meta
        self._lock.release()
        return read_run(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or self.folder is None or self._meta["status"] == "finished":
            return
        # On a full disk this fails too: the folder then stays `running`, and the first error is the one to show.
        with contextlib.suppress(OSError):
            for table in self._rows.values():
                table.drop()
            if {path.name for path in self.folder.rglob("*") if path.is_file()} <= {"run.json", LOCK}:
                shutil.rmtree(self.folder)
                for parent in self._made:
                    parent.rmdir()  # ends here where another run has begun in it meanwhile
            else:
                self._meta["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                self._meta["error"] = f"{type(error).__name__}: {error}"
                _save_meta(self.folder, self._meta)
        self._lock.release()


def _make(folder: Path, *, exist_ok: bool) -> list[Path]:
    """Make a folder; return those around it that had to be made too, the innermost first.

    Raises:
        FileExistsError: it is there.
        RunFolderError: it cannot be made.
    """
    around = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise RunFolderError(f"{folder} cannot be made: {error.strerror}") from None
    return around


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reader of the JSON will get, so that a run in memory shows the same."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(meta), allow_nan=False))
    return plain


def _save_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    write_atomic(folder / "run.json", (json.dumps(meta, indent=2, ensure_ascii=False) + "\n").encode())


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder durable (POSIX; Windows cannot open folders and needs no such call)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
