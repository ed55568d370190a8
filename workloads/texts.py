"""Texts of a dataset: local files and the Hugging Face Hub, read into strings or refused with one clear message.

Every source is a list of *rows*: a docstring, a line of JSON, a row of a table. A plain text file marks no documents,
so its rows are the blocks between blank lines. `DatasetSpec.unit` then says how a row becomes samples.
"""

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

Unit = Literal["document", "paragraph", "line"]

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
_SPLITTERS = {"document": None, "paragraph": _BLANK_LINES, "line": re.compile(r"\n")}
_NEWLINE = re.compile(r"\r\n?")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_NAMED = 20


class DataError(ValueError):
    """A dataset that cannot be used; the message names file, line and what is allowed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Which texts to learn from: the `workload.dataset` section of a scenario.

    Attributes:
        source: `pydocs`, a .txt, .jsonl or .parquet file, a folder or Hub id (`org/name`) for the `datasets` library.
        text_column: the column that holds the text, where the source has columns.
        unit: one sample per row (`document`), per block between blank lines (`paragraph`) or per line (`line`).
        split: split of a folder or Hub dataset; slices such as `train[:10%]` work.
        config: configuration of a folder or Hub dataset.
        revision: commit, tag or branch of a Hub dataset.
    """

    source: str
    text_column: str = "text"
    unit: Unit = "document"
    split: str = "train"
    config: str | None = None
    revision: str | None = None


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest of the allowed words, or "" where none is close."""
    close = difflib.get_close_matches(word, list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def split_rows(rows: Sequence[str], unit: Unit) -> list[str]:
    """Return the samples of the rows: the rows themselves, their paragraphs or their lines; blank ones are dropped.

    Raises:
        DataError: for a unit that does not exist.
    """
    if unit not in _SPLITTERS:
        allowed = ", ".join(_SPLITTERS)
        raise DataError(f"dataset unit {unit!r} is unknown (allowed: {allowed}){did_you_mean(unit, _SPLITTERS)}")
    splitter = _SPLITTERS[unit]
    pieces = rows if splitter is None else [piece for row in rows for piece in _split(splitter, row)]
    return [piece for piece in pieces if piece and not piece.isspace()]


def texts_digest(texts: Sequence[str]) -> str:
    """Return the SHA-256 of the texts in order; the lengths go in first, so that no two lists share their bytes."""
    encoded = [text.encode() for text in texts]
    digest = hashlib.sha256(np.array([len(text) for text in encoded], "<i8").tobytes())
    digest.update(b"".join(encoded))
    return digest.hexdigest()


def read_txt(path: Path) -> list[str]:
    """Return the blocks between blank lines of a UTF-8 text file; line ends of any system are understood.

    Raises:
        DataError: if the file is not UTF-8.
    """
    return _split(_BLANK_LINES, _NEWLINE.sub("\n", _decode(path)))


def read_jsonl(path: Path, column: str) -> list[str]:
    """Return the strings under `column` of a file with one JSON object a line; null counts as empty.

    Raises:
        DataError: naming file and line, for a line that is not UTF-8, not a JSON object, or without text in the column.
    """
    rows = []
    # Not str.splitlines: a JSON string may hold U+2028 and its like unescaped.
    for number, line in enumerate(_decode(path).split("\n"), start=1):
        if not line or line.isspace():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise DataError(f"{where}: not a line of JSON: {problem}") from None
        if not isinstance(record, dict):
            raise DataError(f'{where}: expected a JSON object such as {{"{column}": "..."}}, got {line[:40]!r}')
        check_column(where, column, record)
        rows.append(_text(record[column], column, where))
    return rows


def read_parquet(path: Path, column: str) -> list[str]:
    """Return the strings in `column` of a Parquet file; null counts as empty.

    Raises:
        DataError: for a file that is not Parquet, a missing column, or a column that does not hold text.
    """
    import pyarrow as pa  # noqa: PLC0415 - a tenth of a second that other sources need not pay
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            check_column(str(path), column, file.schema_arrow.names)
            return column_texts(file.read(columns=[column]).column(column).to_pylist(), column, str(path))
    except (pa.ArrowException, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: not a readable Parquet file: {problem}") from None


def read_hub(spec: DatasetSpec) -> list[str]:
    """Return the rows of a Hub dataset or of a local folder, through the optional `datasets` library.

    Raises:
        DataError: if the library is missing, the dataset cannot be loaded, or the column does not hold text.
    """
    try:
        import datasets  # noqa: PLC0415 - optional, and a second to import
    except ModuleNotFoundError:
        raise DataError(
            f"dataset {spec.source!r} is read by the Hugging Face `datasets` library, which is not installed: "
            "pip install 'splitft[datasets]'"
        ) from None
    try:
        table = datasets.load_dataset(spec.source, spec.config, split=spec.split, revision=spec.revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as problem:
        wanted = f"config {spec.config or 'default'}, split {spec.split}, revision {spec.revision or 'newest'}"
        # The library often says why only in the cause, and goes on for many lines.
        reasons = [str(error).partition("\n")[0] for error in (problem, problem.__cause__) if error]
        raise DataError(f"dataset {spec.source!r} ({wanted}) cannot be loaded: {': '.join(reasons)}") from problem
    check_column(f"dataset {spec.source!r}", spec.text_column, table.column_names)
    return column_texts(table[spec.text_column], spec.text_column, f"dataset {spec.source!r}")


def check_column(where: str, column: str, columns: Iterable[str]) -> None:
    """Refuse a column that the source does not have.

    Raises:
        DataError: naming the columns there are.
    """
    names = [str(name) for name in columns]
    if column not in names:
        shown = ", ".join(names[:_MAX_NAMED]) or "none"
        raise DataError(f"{where}: no text_column {column!r} (columns: {shown}){did_you_mean(column, names)}")


def column_texts(values: Iterable[object], column: str, source: str) -> list[str]:
    """Return a column's values as texts; null counts as empty.

    Raises:
        DataError: naming the first row that holds something else.
    """
    return [_text(value, column, f"{source}: row {row}") for row, value in enumerate(values)]


def _split(pattern: re.Pattern[str], text: str) -> list[str]:
    return [piece.strip("\r\n") for piece in pattern.split(text)]


def _text(value: object, column: str, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where}: text_column {column!r} must hold text, got {value!r:.60}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: text_column {column!r} holds half of a surrogate pair, which is no text") from None
    return value


def _decode(path: Path) -> str:
    content = path.read_bytes().removeprefix(_BYTE_ORDER_MARK)
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8 (byte 0x{content[problem.start]:02x}); convert the file") from None
