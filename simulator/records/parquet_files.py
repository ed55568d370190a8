"""Parquet files of a run folder: the same bytes for the same rows, and under its name always a whole file."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simulator.records.schemas import VOCABULARIES

Save: TypeAlias = Callable[[str, pa.Table], None]
"""Keeps a table under a name."""

ROWS_PER_GROUP: Final = 16_384
"""Rows of a growing table that are kept in memory before they go to disk together."""

# Fixed encodings; these two suit increasing ids and times (15 instead of 27 bytes a span).
_ENCODINGS: Final = {pa.float64(): "BYTE_STREAM_SPLIT", pa.int64(): "DELTA_BINARY_PACKED"}


class GrowingTable:
    """A table that is recorded row by row; a long one goes to disk while it grows.

    Args:
        name: of the table.
        schema: its columns.
        folder: where its file will be; None to keep it in memory.
    """

    def __init__(self, name: str, schema: pa.Schema, folder: Path | None) -> None:
        self._name, self._schema, self._folder = name, schema, folder
        self._rows: list[tuple[Any, ...]] = []
        self._chunks: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None
        self._is_complete = False

    def add(self, row: tuple[Any, ...]) -> None:
        """Record a row.

        Raises:
            RuntimeError: the table has been saved, and was too long to be kept in memory.
            ValueError: a value of some row before it is not valid.
        """
        if self._is_complete:
            raise RuntimeError(f"a row of {self._name} was added after the table was saved")
        self._rows.append(row)
        if len(self._rows) == ROWS_PER_GROUP:
            self._spill()

    def save(self, save: Save) -> None:
        """Keep the table, whole, under its name; `save` is for one that is short or stays in memory."""
        if self._writer is None:
            save(self._name, pa.concat_tables([*self._chunks, checked_table(self._schema, self._rows)]))
        elif not self._is_complete:
            self._spill()
            self._writer.close()
            _put_in_place(_aside(self._file), self._file)
            self._is_complete = True

    def drop(self) -> None:
        """Give up a table that will not be saved."""
        if self._writer is not None and not self._is_complete:
            self._writer.close()
            _aside(self._file).unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._name}.parquet"

    def _spill(self) -> None:
        table, self._rows = checked_table(self._schema, self._rows), []
        if self._folder is None:
            self._chunks.append(table)
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(_aside(self._file), self._schema, **_options(self._schema))
        self._writer.write_table(table)


def save_parquet(folder: Path, name: str, table: pa.Table) -> None:
    """Write a table at once, its name maybe within a folder such as `spans`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **_options(table.schema))
    file = folder / f"{name}.parquet"
    file.parent.mkdir(exist_ok=True)
    write_atomic(file, sink.getvalue().to_pybytes())


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that its name always shows the old content or the whole new one."""
    aside = _aside(path)
    aside.write_bytes(data)
    _put_in_place(aside, path)


def checked_table(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Return rows as a checked table.

    Raises:
        ValueError: a name outside its vocabulary, a missing value, a time that is not finite or runs backwards,
            a negative number of bytes. A wrong cost must not become a record.
    """
    if not rows:
        return schema.empty_table()
    arrays = [_array(field, values) for field, values in zip(schema, zip(*rows, strict=True), strict=True)]
    columns = dict(zip(schema.names, arrays, strict=True))
    for name in ("start_s", "end_s", "time_s", "duration_s"):
        if name in columns and not np.isfinite(columns[name].to_numpy()).all():
            raise ValueError(f"{name} is not finite in a row of {schema.names}")
    if {"start_s", "end_s"} <= columns.keys() and (columns["end_s"].to_numpy() < columns["start_s"].to_numpy()).any():
        raise ValueError(f"end_s lies before start_s in a row of {schema.names}")
    if "duration_s" in columns and columns["duration_s"].to_numpy().min() < 0:
        raise ValueError("duration_s is negative: a span ended before it started")
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


def _options(schema: pa.Schema) -> dict[str, Any]:
    return {
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": [field.name for field in schema if field.type not in _ENCODINGS],
        "column_encoding": {field.name: _ENCODINGS[field.type] for field in schema if field.type in _ENCODINGS},
        "write_page_checksum": True,
    }


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _put_in_place(aside: Path, path: Path) -> None:
    """Give a complete file its name, once it is on the disk."""
    descriptor = os.open(aside, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.replace(path)
