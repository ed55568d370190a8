"""CSV files that a scenario names: their rows with line numbers, and the digest of what they hold."""

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from devices.problems import InputError, Problem


def read_csv(path: Path, header: Sequence[str]) -> tuple[Iterator[tuple[int, list[str]]], str]:
    """Return the rows below the header, each with its line, and the sha256 of the file in hex.

    Empty lines are passed over.

    Raises:
        InputError: the file cannot be read or begins with something else; while rows are taken: one is no CSV.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(Problem(f"cannot be read: {reason}", file=str(path))) from None
    rows = _rows(path, text)
    _, first = next(rows, (1, []))
    if [name.strip() for name in first] != list(header):
        raise InputError(Problem(f"the first line must be {','.join(header)}", file=str(path), line=1))
    return rows, hashlib.sha256(content).hexdigest()


@contextmanager
def told_at(key: str) -> Iterator[None]:
    """Tell at the key that names a file why the whole of it cannot be used; of its rows, at their lines."""
    try:
        yield
    except InputError as error:
        raise InputError(
            *(p if p.line is not None else Problem(str(p), key=key, value=p.file) for p in error.problems)
        ) from None


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise InputError(Problem(f"is not a CSV file: {error}", file=str(path), line=reader.line_num)) from None
