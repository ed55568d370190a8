"""Writes the run folder of `records.py`.

The folder is made after everything else has been validated, with `status: running`; every file is written aside, synced
and renamed; `status: finished` comes last. An exception leaves `failed` (Ctrl-C: `interrupted`) and the error's text in
run.json, and what was finished, for a resume; where nothing was finished yet the folder is removed. A kill leaves
`running`. Nothing that existed before is touched.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simulator.records import (
    NO_CAUSE,
    SCHEMA,
    SPANS_SCHEMA,
    TABLE_SCHEMAS,
    VOCABULARIES,
    ClientRow,
    EvalRow,
    FolderTables,
    MemoryTables,
    RoundRow,
    RunRecords,
    Tables,
    canonical_bytes,
    read_run,
)

Save: TypeAlias = Callable[[str, pa.Table], None]


class SpanLog:
    """Collects spans, and keeps them as one table a round."""

    def __init__(self, save: Save) -> None:
        self._save = save
        self._rows: list[tuple[Any, ...]] = []
        self._num_spans = 0
        self._last_round = -1
        self._digest = hashlib.sha256()

    def add(  # noqa: PLR0917 - called positionally, for speed
        self,
        kind: str,
        actor: str,
        client: int,
        round: int,  # noqa: A002 - the column's name
        step: int,
        start_s: float,
        end_s: float,
        num_bytes: int = 0,
        cause_id: int = NO_CAUSE,
        energy_j: float | None = None,
    ) -> int:
        """Record one `SpanRow` and return its id. `flush_round` checks the values: this runs millions of times."""
        span_id = self._num_spans
        self._num_spans = span_id + 1
        self._rows.append((span_id, cause_id, kind, actor, client, round, step, start_s, end_s, num_bytes, energy_j))
        return span_id

    def flush_round(self, number: int) -> None:
        """Keep the spans added since the last flush as the table of a round, and free the log.

        Raises:
            ValueError: a span is not valid (bad name, time or size), or the round does not follow the last one flushed.
        """
        if number <= self._last_round:
            raise ValueError(f"round {number} cannot be stored after round {self._last_round}")
        table = _table(SPANS_SCHEMA, self._rows)
        self._save(f"spans/round-{number:06d}", table)
        self._digest.update(canonical_bytes(table))
        self._last_round = number
        self._rows = []

    @property
    def sha256(self) -> str:
        """Digest of every flushed span's values: the same in memory, in a folder, and for any flushing.

        Raises:
            RuntimeError: spans were added after the last flush; they would be lost.
        """
        if self._rows:
            raise RuntimeError(f"{len(self._rows)} spans were added after the last round was flushed")
        return self._digest.hexdigest()


class RunWriter:
    """Records one run, in a new folder or (folder None) in memory; `with` marks the folder when the run fails.

    Attributes:
        folder: the run folder, where there is one.
        spans: the span log that protocols write to.

    Raises:
        FileExistsError: the folder exists; it is left as it is.
    """

    def __init__(self, folder: Path | None, meta: Mapping[str, Any]) -> None:
        self._meta = {"schema": SCHEMA, "status": "running", **_plain(meta)}
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLE_SCHEMAS}
        self.folder = folder
        self._tables: Tables
        if folder is None:
            self._tables = tables = MemoryTables()
            self._save: Save = tables.__setitem__
        else:
            folder.mkdir(parents=True)
            (folder / "spans").mkdir()
            _save_meta(folder, self._meta)
            self._tables = FolderTables(folder)
            self._save = partial(_save_parquet, folder)
        self.spans = SpanLog(self._save)

    def add_client(self, row: ClientRow) -> None:
        """Record what one client did in one round."""
        self._rows["clients"].append(row)

    def add_eval(self, row: EvalRow) -> None:
        """Record an evaluation."""
        self._rows["evals"].append(row)

    def end_round(self, row: RoundRow) -> None:
        """Record a round whose spans are complete, and store them."""
        self._rows["rounds"].append(row)
        self.spans.flush_round(row.round)

    def records(self) -> RunRecords:
        """Return everything recorded so far, as a reader will see it: a summary for `finish` is made from this."""
        for name, schema in TABLE_SCHEMAS.items():
            self._save(name, _table(schema, self._rows[name]))
        return RunRecords({**self._meta, "spans_sha256": self.spans.sha256}, self._tables)

    def finish(self, **meta: Any) -> RunRecords:
        """Complete the run with the last entries of run.json (versions, summary, host) and return its records."""
        records = self.records()
        records.meta |= _plain(meta)
        records.meta["status"] = "finished"
        if self.folder is None:
            return records
        _sync_folder(self.folder / "spans")
        _sync_folder(self.folder)
        _save_meta(self.folder, records.meta)
        _sync_folder(self.folder)
        self._meta = records.meta
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
            if [path for path in self.folder.rglob("*") if path.is_file()] == [self.folder / "run.json"]:
                shutil.rmtree(self.folder)
                return
            self._meta["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self._meta["error"] = f"{type(error).__name__}: {error}"
            _save_meta(self.folder, self._meta)


def _table(schema: pa.Schema, rows: list[tuple[Any, ...]]) -> pa.Table:
    """Return rows as a checked table.

    Raises:
        ValueError: a name outside its vocabulary, a missing value, a time that is not finite or runs backwards,
            a negative number of bytes. A wrong cost must not become a record.
    """
    if not rows:
        return schema.empty_table()
    arrays = [_array(field, values) for field, values in zip(schema, zip(*rows, strict=True), strict=True)]
    columns = dict(zip(schema.names, arrays, strict=True))
    for name in ("start_s", "end_s", "time_s"):
        if name in columns and not np.isfinite(columns[name].to_numpy()).all():
            raise ValueError(f"{name} is not finite in a row of {schema.names}")
    if "end_s" in columns and (columns["end_s"].to_numpy() < columns["start_s"].to_numpy()).any():
        raise ValueError(f"end_s lies before start_s in a row of {schema.names}")
    if "num_bytes" in columns and columns["num_bytes"].to_numpy().min() < 0:
        raise ValueError("num_bytes is negative in a span")
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(field: pa.Field, values: tuple[Any, ...]) -> pa.Array:
    if field.name in VOCABULARIES:
        vocabulary = VOCABULARIES[field.name]
        codes = {name: code for code, name in enumerate(vocabulary)}
        try:
            indices = pa.array([codes[value] for value in values], pa.int8())
        except KeyError as error:
            raise ValueError(f"unknown {field.name} {error} of a span; known: {', '.join(vocabulary)}") from None
        return pa.DictionaryArray.from_arrays(indices, pa.array(vocabulary))
    array = pa.array(values, field.type)
    if array.null_count and not field.nullable:
        raise ValueError(f"{field.name} is missing in a row")
    return array


def _save_parquet(folder: Path, name: str, table: pa.Table) -> None:
    """Write a table: the same bytes for the same table, whole or not at all."""
    # Fixed encodings are a part of that; these two suit increasing ids and times (15 instead of 27 bytes a span).
    encodings = {pa.float64(): "BYTE_STREAM_SPLIT", pa.int64(): "DELTA_BINARY_PACKED"}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=3,
        use_dictionary=[field.name for field in table.schema if field.type not in encodings],
        column_encoding={field.name: encodings[field.type] for field in table.schema if field.type in encodings},
        write_page_checksum=True,
    )
    _write_atomic(folder / f"{name}.parquet", sink.getvalue().to_pybytes())


def _write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that its name always shows the old content or the whole new one."""
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reader of the JSON will get, so that a run in memory shows the same."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(meta), allow_nan=False))
    return plain


def _save_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    _write_atomic(folder / "run.json", (json.dumps(meta, indent=2, ensure_ascii=False) + "\n").encode())


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder durable (POSIX; Windows cannot open folders and needs no such call)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
