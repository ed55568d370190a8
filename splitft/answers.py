"""Answers to questions about runs: written to a file and said, or the user is told why there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from devices.problems import FULL_DISK, InputError, Problem
from simulator.records.runs import RunFolderError


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Write a file and say so.

    Raises:
        InputError: it cannot be written there.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise InputError(Problem(f"{file} cannot be written: {error.strerror or error}", key="--out")) from None
    typer.echo(f"Wrote {file}")


@contextmanager
def told() -> Iterator[None]:
    """Turn what cannot be answered into a user's problem."""
    try:
        yield
    except (ValueError, RunFolderError) as error:
        raise InputError(Problem(str(error))) from None
