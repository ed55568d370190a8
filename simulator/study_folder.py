"""Writes the study folder of `simulator.records.studies`, and reads a study back from it, to go on with it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from devices.problems import InputError, Problem
from devices.strict_yaml import Document
from simulator.records.parquet_files import write_atomic
from simulator.records.recorder import RunLock
from simulator.records.runs import RunFolderError
from simulator.records.studies import CASES, FAILURES, LOGS, STUDY_FILE, STUDY_SCHEMA, case_status, read_study_meta
from simulator.study import Case, Study


class StudyFolder:
    """A study on disk. The base scenario is kept in it as it was, whatever becomes of its file.

    Attributes:
        path: where it is, absolute.
        study: what is asked.
        working_folder: relative paths of scenarios start from it.
        catalogue: folders with the user's own profiles.
    """

    def __init__(self, path: Path, study: Study, working_folder: Path, catalogue: Sequence[Path]) -> None:
        self.path, self.study = path.absolute(), study
        self.working_folder, self.catalogue = working_folder, tuple(catalogue)
        self._cases = {case.id: case for case in study.cases}

    @classmethod
    def create(cls, path: Path, study: Study, catalogue: Sequence[Path]) -> Self:
        """Make the folder of a new study, and its study.json.

        Raises:
            FileExistsError: the folder exists.
            OSError: it cannot be made; nothing is left of it.
        """
        folder = cls(path, study, Path.cwd(), [place.absolute() for place in catalogue])
        folder.path.mkdir(parents=True)
        try:
            write_atomic(folder.path / STUDY_FILE, _json(folder._to_json()))
        except BaseException:
            shutil.rmtree(folder.path, ignore_errors=True)
            raise
        return folder

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return a study that was begun.

        Raises:
            InputError: this is not the folder of a study that can be read.
        """
        try:
            meta = read_study_meta(path)
            origin = meta["origin"]
            return cls(
                path,
                _study(meta),
                Path(origin["working_folder"]),
                [Path(place) for place in origin["catalogue"]],
            )
        except RunFolderError as error:
            raise InputError(Problem(str(error))) from None
        except (KeyError, TypeError) as error:
            raise InputError(Problem(f"damaged study folder: {error}", str(path / STUDY_FILE))) from None

    @property
    def logs(self) -> Path:
        """Return where the processes that run cases write what they have to say."""
        return self.path / LOGS

    def lock(self) -> RunLock:
        """Return the right to run cases of this study.

        Raises:
            InputError: another process has it.
        """
        try:
            return RunLock(self.path)
        except RunFolderError:
            raise InputError(Problem(f"{self.path}: another process is at work on this study")) from None

    def run_folder(self, case: Case) -> Path:
        """Return where a case's run is, or will be."""
        return self.path / CASES / case.id

    def case(self, name: str) -> Case:
        """Return a case by its id."""
        return self._cases[name]

    def todo(self, *, retry_failed: bool) -> list[Case]:
        """Return the cases that have to be run, or to be gone on with; failed ones only on request.

        Raises:
            InputError: the run folder of a case cannot be read.
        """
        wanted = {"unfinished", "failed"} if retry_failed else {"unfinished"}
        try:
            return [case for case in self.study.cases if case_status(self.path, case.id)[0] in wanted]
        except RunFolderError as error:
            raise InputError(Problem(str(error))) from None

    def fail(self, case: Case, error: str) -> None:
        """Write down why a case failed."""
        file = self.path / FAILURES / f"{case.id}.json"
        file.parent.mkdir(exist_ok=True)
        write_atomic(file, _json({"case": case.id, "error": error}))

    def begin(self, case: Case) -> None:
        """Forget an earlier failure of a case, and what a kill has left of a run that had not begun."""
        (self.path / FAILURES / f"{case.id}.json").unlink(missing_ok=True)
        run = self.run_folder(case)
        if run.exists() and not (run / "run.json").exists():
            shutil.rmtree(run)

    def _to_json(self) -> dict[str, Any]:
        study = self.study
        return {
            "schema": STUDY_SCHEMA,
            "name": study.name,
            "label": study.label,
            "factors": list(study.factors),
            "metrics": list(study.metrics),
            "target_perplexity": study.target_perplexity,
            "base": {"file": study.base.file, "data": study.base.data},
            "cases": [
                {"id": case.id, "varied": dict(case.varied), "seed": case.seed, "overrides": list(case.overrides)}
                for case in study.cases
            ],
            "origin": {
                "working_folder": str(self.working_folder),
                "base_folder": None if study.base_folder is None else str(study.base_folder),
                "catalogue": [str(place) for place in self.catalogue],
            },
        }


def _study(meta: dict[str, Any]) -> Study:
    base_folder = meta["origin"]["base_folder"]
    return Study(
        name=meta["name"],
        label=meta["label"],
        metrics=tuple(meta["metrics"]),
        target_perplexity=meta["target_perplexity"],
        base=Document(meta["base"]["data"], meta["base"]["file"], {}),
        base_folder=None if base_folder is None else Path(base_folder),
        factors=tuple(meta["factors"]),
        cases=tuple(
            Case(id=case["id"], varied=case["varied"], seed=case["seed"], overrides=tuple(case["overrides"]))
            for case in meta["cases"]
        ),
    )


def _json(plain: dict[str, Any]) -> bytes:
    return (json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
