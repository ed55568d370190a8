"""The study folder: one run folder for each case, and its reader. `simulator.study_folder` writes it.

    study.json          schema, name, factors, metrics, target, base scenario, cases, origin
    cases/001/          a run folder (`runs.py`)
    failures/002.json   why a case failed
    logs/               what the processes that ran cases had to say

A case is finished when its run is; nothing else is written about it, so a study that was killed looks as far as it is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from simulator.records.runs import RunFolderError, RunRecords, read_head, read_meta, read_run

STUDY_FILE, CASES, FAILURES, LOGS = "study.json", "cases", "failures", "logs"
STUDY_SCHEMA = 1
HEAD = ("name", "label", "factors", "metrics", "target_perplexity")

Status = Literal["finished", "failed", "unfinished"]


@dataclass(frozen=True, kw_only=True)
class CaseRecords:
    """What is known of one case.

    Attributes:
        id: its number, with leading zeros.
        varied: the varied keys and their values.
        seed: which repetition it is, from 0.
        folder: of its run.
        status: `unfinished` also where it has not begun.
        error: why it failed.
    """

    id: str
    varied: Mapping[str, Any]
    seed: int
    folder: Path
    status: Status
    error: str | None

    @cached_property
    def run(self) -> RunRecords:
        """Return the records of the finished run.

        Raises:
            RunFolderError: the folder cannot be read.
        """
        return read_run(self.folder)


@dataclass(frozen=True, kw_only=True)
class StudyRecords:
    """The records of a study, finished or not.

    Attributes:
        folder: where it is.
        meta: what study.json holds.
        cases: in order.
    """

    folder: Path
    meta: Mapping[str, Any]
    cases: tuple[CaseRecords, ...]

    @property
    def name(self) -> str:
        """Return the study's name."""
        return str(self.meta["name"])

    @property
    def factors(self) -> tuple[str, ...]:
        """Return the varied keys in order."""
        return tuple(self.meta["factors"])

    @property
    def finished(self) -> tuple[CaseRecords, ...]:
        """Return the cases that are finished, in order."""
        return tuple(case for case in self.cases if case.status == "finished")


def is_study(folder: Path) -> bool:
    """Return whether a folder is that of a study."""
    return (folder / STUDY_FILE).is_file()


def read_study_meta(folder: Path) -> dict[str, Any]:
    """Return study.json.

    Raises:
        RunFolderError: this is no study folder, it is damaged, or it was written with another schema.
    """
    return read_head(folder / STUDY_FILE, what="study", states="cases", schema=STUDY_SCHEMA)


def read_study(folder: Path) -> StudyRecords:
    """Return the records of a study.

    Raises:
        RunFolderError: as `read_study_meta`, or the folder of a case cannot be read.
    """
    meta = read_study_meta(folder)
    try:
        itemgetter(*HEAD)(meta)  # refuses one that lacks a key
        return StudyRecords(folder=folder, meta=meta, cases=tuple(_case(folder, plain) for plain in meta["cases"]))
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"{folder / STUDY_FILE}: damaged study folder: {error}") from error


def _case(folder: Path, plain: Mapping[str, Any]) -> CaseRecords:
    run = folder / CASES / plain["id"]
    status, error = case_status(folder, plain["id"])
    return CaseRecords(
        id=plain["id"], varied=plain["varied"], seed=plain["seed"], folder=run, status=status, error=error
    )


def case_status(folder: Path, case: str) -> tuple[Status, str | None]:
    """Return how far a case of a study is and, where it failed, why.

    Raises:
        RunFolderError: its run's folder cannot be read.
    """
    run, failure = folder / CASES / case, folder / FAILURES / f"{case}.json"
    if (run / "run.json").exists() and read_meta(run)["status"] == "finished":
        return "finished", None
    try:
        return "failed", str(json.loads(failure.read_bytes())["error"])
    except FileNotFoundError:
        return "unfinished", None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{failure}: damaged study folder: {error}") from error
