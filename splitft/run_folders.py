"""The folders of runs: how they are named and found."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from devices.problems import InputError, Problem, did_you_mean
from simulator.records.runs import RunFolderError, read_meta
from simulator.records.studies import is_study
from splitft.api import FolderExistsError

T = TypeVar("T")

RUNS = Path("runs")
STUDIES = Path("studies")
LAST = "last"


def next_folder(name: str, runs: Path = RUNS) -> Path:
    """Return `runs/<name>-NNN` with the number after the highest there is."""
    numbered = re.compile(rf"{re.escape(name)}-(\d+)")
    taken = [int(match[1]) for path in runs.glob(f"{name}-*") if (match := numbered.fullmatch(path.name))]
    return runs / f"{name}-{max(taken, default=0) + 1:03d}"


def work_into(out: Path | None, name: str, work: Callable[[Path], T], *, home: Path = RUNS) -> tuple[T, Path]:
    """Work into a folder, or into the next one of `home` that nobody else takes in the same moment.

    Returns:
        What came of the work, and the folder.

    Raises:
        FolderExistsError: `out` is there already.
    """
    while True:
        folder = next_folder(name, home) if out is None else out
        try:
            return work(folder), folder
        except FolderExistsError:
            if out is not None:
                raise


def find_run(name: str, runs: Path = RUNS) -> Path:
    """Return the folder of a run.

    Args:
        name: a folder, its name in `runs/`, or `last` for the run that was last begun or ended.
        runs: the folder that holds runs.

    Raises:
        InputError: there is no such run.
    """
    if name == LAST:
        begun = [(file.stat().st_mtime_ns, file.parent) for file in runs.glob("*/run.json")]
        if not begun:
            raise InputError(Problem(f"there is no run in {runs}{_where(runs)}", value=name))
        return max(begun)[1]
    for folder in (Path(name), runs / name):
        if folder.is_dir():
            return folder
    known = sorted(file.parent.name for file in runs.glob("*/run.json"))
    raise InputError(Problem(f"{name}: no such run folder{did_you_mean(name, known)}", value=name))


def find_study(name: str, studies: Path = STUDIES) -> Path | None:
    """Return the folder of a study, given itself or its name in `studies/`; None where there is none."""
    return next((folder for folder in (Path(name), studies / name) if is_study(folder)), None)


def is_finished(folder: Path) -> bool:
    """Return whether a run has come to its end.

    Raises:
        InputError: this is no run folder.
    """
    try:
        return bool(read_meta(folder)["status"] == "finished")
    except RunFolderError as error:
        raise InputError(Problem(str(error))) from None


def _where(runs: Path) -> str:
    return "" if runs.is_absolute() else f" of {Path.cwd()}"
