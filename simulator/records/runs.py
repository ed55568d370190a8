"""The run folder: its tables and its reader. `recorder.py` writes it.

    run.json                    schema, status, scenario, fingerprint, notes, versions, spans_sha256, summary, host
    spans/round-000001.parquet  where the time went: one file a round, so that memory stays flat
    totals/round-000001.parquet or, instead, sums by client and kind (`execution.spans: rounds`)
    rounds.parquet  clients.parquet  evals.parquet
    adapter/  results/  plots/  written by others

The columns stand in `schemas.py`. Equal runs give equal bytes: nothing of the host's clock is written outside run.json.
Only a run whose run.json says `finished` is read, so a folder that was left by a crash never looks whole; the spans'
sha256 and a checksum of every page show damage. A run without a folder keeps the same tables in memory and gives the
same `RunRecords`.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from simulator.records.schemas import (
    ACTORS,
    NO_CAUSE,
    OUTSIDE_STEPS,
    ROUND_SCHEMAS,
    SCHEMA,
    SERVER_CLIENT,
    SPAN_KINDS,
    SPANS_SCHEMA,
    TABLE_SCHEMAS,
    TOTALS_SCHEMA,
    VOCABULARIES,
    ClientRow,
    EvalRow,
    RoundRow,
    SpanRow,
    TotalRow,
    canonical_bytes,
)

__all__ = [
    "ACTORS",
    "NO_CAUSE",
    "OUTSIDE_STEPS",
    "SCHEMA",
    "SERVER_CLIENT",
    "SPANS_SCHEMA",
    "SPAN_KINDS",
    "TABLE_SCHEMAS",
    "TOTALS_SCHEMA",
    "VOCABULARIES",
    "ClientRow",
    "EvalRow",
    "FolderTables",
    "MemoryTables",
    "RoundRow",
    "RunFolderError",
    "RunRecords",
    "SpanRow",
    "Tables",
    "TotalRow",
    "canonical_bytes",
    "read_meta",
    "read_run",
]


class RunFolderError(Exception):
    """A run folder cannot be read: the text says which, why, and what to do."""


class Tables(Protocol):
    """Where the tables of a run are kept."""

    @property
    def folder(self) -> Path | None:
        """The run folder, where there is one."""

    def load(self, name: str) -> pa.Table:
        """Return the table of a name such as `rounds` or `spans/round-000001`."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the tables by round, `spans` or `totals`, in order of rounds."""


class MemoryTables(dict[str, pa.Table]):
    """Tables in memory by name."""

    folder = None

    def load(self, name: str) -> pa.Table:
        """Return a table."""
        return self[name]

    def names(self, folder: str) -> list[str]:
        """Return the names of the tables by round in order of recording."""
        return [name for name in self if name.startswith(f"{folder}/")]


class FolderTables:
    """The Parquet files of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, name: str) -> pa.Table:
        """Return a table.

        Raises:
            RunFolderError: the file is missing, damaged, or has other columns.
        """
        file = self.folder / f"{name}.parquet"
        try:
            # Never through a Python file object, never in threads: Arrow may then abort the interpreter as it exits
            # (apache/arrow issues 34314 and 50482).
            source = pa.BufferReader(file.read_bytes())
            table = pq.ParquetFile(source, page_checksum_verification=True).read(use_threads=False)
            as_expected = table.schema.equals((TABLE_SCHEMAS | ROUND_SCHEMAS)[name.partition("/")[0]])
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RunFolderError(f"{file}: damaged run folder: {error}") from error
        if not as_expected:
            raise RunFolderError(f"{file}: damaged run folder: its columns are not those of schema {SCHEMA}")
        return table

    def names(self, folder: str) -> list[str]:
        """Return the names of the tables by round in order of rounds."""
        names = [f"{folder}/{path.stem}" for path in (self.folder / folder).glob("round-*.parquet")]
        return sorted(names, key=lambda name: (len(name), name))  # by number, also beyond six digits


class RunRecords:
    """The records of one finished run, in memory or in a folder; frames are read when first asked for.

    Attributes:
        meta: what run.json holds.
    """

    def __init__(self, meta: dict[str, Any], tables: Tables) -> None:
        self.meta = meta
        self._tables = tables

    @property
    def folder(self) -> Path | None:
        """The run folder; None for a run that was kept in memory."""
        return self._tables.folder

    def span_chunks(self) -> Iterator[pd.DataFrame]:
        """Yield the spans one stored round at a time, for results that must not hold them all."""
        return (table.to_pandas() for table in self._round_tables("spans"))

    def total_chunks(self) -> Iterator[pd.DataFrame]:
        """Yield the sums (`TotalRow`) one stored round at a time; nothing where the spans themselves are there."""
        return (table.to_pandas() for table in self._round_tables("totals"))

    @property
    def span_detail(self) -> str:
        """How much was written down: every span (`steps`), sums by client, round and kind (`rounds`), or `none`."""
        return "steps" if self._tables.names("spans") else "rounds" if self._tables.names("totals") else "none"

    @cached_property
    def spans(self) -> pd.DataFrame:
        """All spans (`SpanRow`) in order of recording."""
        tables = [SPANS_SCHEMA.empty_table(), *self._round_tables("spans")]
        frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
        return frame

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """One row a round (`RoundRow`)."""
        return self._frame("rounds")

    @cached_property
    def clients(self) -> pd.DataFrame:
        """One row a round and client (`ClientRow`)."""
        return self._frame("clients")

    @cached_property
    def evals(self) -> pd.DataFrame:
        """One row an evaluation (`EvalRow`)."""
        return self._frame("evals")

    def _frame(self, name: str) -> pd.DataFrame:
        frame: pd.DataFrame = self._tables.load(name).to_pandas()
        return frame

    def _round_tables(self, folder: str) -> Iterator[pa.Table]:
        names = self._tables.names(folder)
        if not names and self.span_detail != "none":
            return  # the other one was written, and is what the digest is of
        digest = hashlib.sha256()
        for name in names:
            table = self._tables.load(name)
            digest.update(canonical_bytes(table))
            yield table
        if digest.hexdigest() != self.meta["spans_sha256"]:
            raise RunFolderError(f"{self.folder}: damaged run folder: {folder}/ is not what the run recorded (sha256)")


def read_meta(folder: Path) -> dict[str, Any]:
    """Return run.json, whatever the run's status.

    Raises:
        RunFolderError: this is no run folder, it is damaged, or it was written with another schema.
    """
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: no such run folder")
    return read_head(folder / "run.json", what="run", states="status", schema=SCHEMA)


def read_head(file: Path, *, what: str, states: str, schema: int) -> dict[str, Any]:
    """Return the JSON file that heads a folder.

    Args:
        file: run.json or study.json.
        what: is in the folder, in a word.
        states: the key that it has to have besides `schema`.
        schema: the only one that can be read.

    Raises:
        RunFolderError: the file is not there, damaged, that of something else, or of another schema.
    """
    try:
        head = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise RunFolderError(f"{file.parent}: not a {what} folder: it has no {file.name}") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{file}: damaged {what} folder: {error}") from error
    if not isinstance(head, dict) or "schema" not in head or states not in head:
        raise RunFolderError(f"{file}: not a {what} folder: {file.name} states no schema and {states}")
    if head["schema"] != schema:
        raise RunFolderError(f"{file}: written with schema {head['schema']}; this version reads schema {schema}")
    return head


def read_run(folder: Path) -> RunRecords:
    """Return the records of a finished run.

    Raises:
        RunFolderError: as `read_meta`, or the run is not finished. Damaged tables are found when they are first read.
    """
    meta = read_meta(folder)
    if meta["status"] == "running":
        raise RunFolderError(
            f"{folder}: the run is not finished: it is still running, or it was killed; `splitft resume {folder}` "
            "goes on with it"
        )
    if meta["status"] != "finished":
        raise RunFolderError(
            f"{folder}: the run is not finished: {meta['status']}: {meta.get('error', 'no reason given')}; "
            f"`splitft resume {folder}` goes on with it"
        )
    if "spans_sha256" not in meta:
        raise RunFolderError(f"{folder / 'run.json'}: damaged run folder: spans_sha256 is missing")
    return RunRecords(meta, FolderTables(folder))
