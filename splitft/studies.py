"""The Python interface of studies: sweep, go on with a sweep, read its answers."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from analysis.study_frame import DEFAULT_METRICS, METRICS, TARGET_METRICS, study_frame
from devices.problems import FULL_DISK, InputError, Problem, did_you_mean
from simulator.engines.local import LocalEngine, worker_environment
from simulator.engines.news import Engine, News
from simulator.records.studies import StudyRecords, read_study
from simulator.scenario import Scenario, to_mapping
from simulator.setting import Setting, resolve
from simulator.study import Case, Study, check_cases, load_study, refuse_twins
from simulator.study_folder import StudyFolder
from splitft.api import Folders, exists, folders, load_run, refuse_existing, told_to_users, working_in
from splitft.casework import attempt_in
from splitft.engines import EngineName, code_path
from splitft.finished import Run
from splitft.options import OUT
from splitft.work import numerics_of
from workloads.machine import device_name, num_cores
from workloads.store import store_variables

OnNews = Callable[[News], None]

STUDY = "a study"


class SweptStudy:
    """A study on disk, finished or as far as it is.

    Attributes:
        folder: where it is.
        records: what is known of each case.
    """

    def __init__(self, records: StudyRecords) -> None:
        self.records = records
        self.folder = records.folder

    def frame(self) -> pd.DataFrame:
        """Return a tidy frame: one row for each finished case, its varied keys, its seed and every metric.

        Raises:
            InputError: the folder of a run cannot be read.
        """
        with told_to_users():
            return study_frame(self.records)

    def run(self, case: str) -> Run:
        """Return the run of a case, by its id such as `003`.

        Raises:
            InputError: there is no such case, or it is not finished.
        """
        known = {records.id: records.folder for records in self.records.cases}
        if case not in known:
            raise InputError(Problem(f"no case {case}; there are {', '.join(known)}", str(self.folder)))
        return load_run(known[case])

    @property
    def failures(self) -> dict[str, str]:
        """Return why cases failed, by their ids."""
        return {case.id: case.error or "" for case in self.records.cases if case.status == "failed"}

    def __repr__(self) -> str:
        """Say what it is and how far."""
        name, finished = self.records.name, len(self.records.finished)
        return f"<SweptStudy {name!r}: {finished} of {len(self.records.cases)} cases finished, {self.folder}>"


def sweep(
    study: Study | str | Path,
    out: str | Path,
    *,
    jobs: int | None = None,
    engine: EngineName = "local",
    catalogue: Folders = (),
    plots: bool = False,
) -> SweptStudy:
    """Run all cases of a study into a new folder and return what came out.

    Args:
        study: of `load_study` or `quick_study`, or the name or file of one.
        out: folder to make for it.
        jobs: cases at work at the same time; None: one for each core, or one where there is a GPU.
        engine: `local`, or `ray` for a Ray cluster.
        catalogue: folder or folders with your own devices, networks and fleets.
        plots: whether pictures of each run are drawn.

    Raises:
        InputError: something cannot be used; nothing has been run.
    """
    asked = study if isinstance(study, Study) else load_study(study)
    return begin_sweep(asked, Path(out), folders(catalogue), Settings(jobs=jobs, engine=engine, plots=plots))


def load_swept(folder: str | Path) -> SweptStudy:
    """Return a study from its folder.

    Raises:
        InputError: this is not the folder of a study that can be read.
    """
    with told_to_users():
        return SweptStudy(read_study(Path(folder)))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a sweep is run, and who is told.

    Attributes:
        jobs, engine, plots: as in `sweep`.
        retry_failed: whether cases that failed before are run again.
        on_check: called with how many cases are found good, and how many there are.
        on_start: called with the cases to come, what they resolve to in short, and notes for the user.
        on_news: called whenever something has happened to a case.
    """

    jobs: int | None = None
    engine: EngineName = "local"
    plots: bool = False
    retry_failed: bool = False
    on_check: Callable[[int, int], None] = lambda _done, _total: None
    on_start: Callable[[Sequence[Case], "Preview"], None] = lambda _cases, _preview: None
    on_news: OnNews = lambda _news: None


@dataclass(kw_only=True)
class Preview:
    """What is known of the cases before they run.

    Attributes:
        num_rounds: of each case, by its id.
        notes: what a user should know, each once.
        twins: cases whose scenarios are the same, each with the first one: something overrides what they vary.
        uses_gpu: whether some case trains on a GPU.
    """

    num_rounds: dict[str, int] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    twins: list[tuple[Case, Case]] = field(default_factory=list)
    uses_gpu: bool = False
    _first: dict[bytes, Case] = field(default_factory=dict)

    def add(self, case: Case, setting: Setting) -> None:
        """Take in a case."""
        scenario = setting.scenario
        first = self._first.setdefault(hashlib.sha256(json.dumps(to_mapping(scenario)).encode()).digest(), case)
        if first is not case:
            self.twins.append((case, first))
        self.num_rounds[case.id] = scenario.rounds
        self.notes |= dict.fromkeys(setting.notes)
        trains = scenario.execution.trainer == "torch"
        self.uses_gpu |= trains and device_name(scenario.execution.device) != "cpu"


def begin_sweep(study: Study, path: Path, catalogue: Sequence[Path], settings: Settings) -> SweptStudy:
    """Run a study into a new folder, made once every case has been found good.

    Raises:
        FolderExistsError: the folder is there, even if it was made a moment ago.
        InputError: something cannot be used; nothing has been written.
    """
    refuse_existing(path, STUDY)
    check_metrics(study)
    preview = _check(study, study.cases, catalogue, settings)
    refuse_twins(preview.twins, study.name, "; another key overrides what they vary, or a default is spelt out")
    try:
        folder = StudyFolder.create(path, study, catalogue)
    except FileExistsError:
        raise exists(path, STUDY) from None
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise InputError(Problem(f"{path} cannot be made: {error.strerror}", key=OUT)) from None
    with _locked(folder):
        return _run(folder, study.cases, preview, settings)


def resume_sweep(path: Path, settings: Settings) -> SweptStudy:
    """Run the cases of a study that are not finished.

    Raises:
        InputError: this is no study folder that can be read, another process is at work on it, or a case that is to be
            run cannot be used any more.
    """
    folder = StudyFolder.open(path)
    with _locked(folder):
        todo = folder.todo(retry_failed=settings.retry_failed)
        with working_in(folder.working_folder):
            preview = _check(folder.study, todo, folder.catalogue, settings)
        return _run(folder, todo, preview, settings)


def check_metrics(study: Study) -> None:
    """Raise InputError where a study asks for a metric that there is not."""
    known = [*METRICS, *(TARGET_METRICS if study.target_perplexity is not None else ())]
    problems = [
        Problem(
            f"no metric '{name}'; there are {', '.join(known)}{did_you_mean(name, known)}", study.name, key="metrics"
        )
        for name in study.metrics
        if name not in known
    ]
    if problems:
        raise InputError(*problems)


def shown_metrics(records: StudyRecords) -> tuple[str, ...]:
    """Return the metrics that a table of a study shows."""
    asked = tuple(records.meta["metrics"])
    target = TARGET_METRICS[:1] if records.meta["target_perplexity"] is not None else ()
    return asked or (*DEFAULT_METRICS, *target)


def _check(study: Study, cases: Sequence[Case], catalogue: Sequence[Path], settings: Settings) -> Preview:
    """Resolve every case, so that what runs can finish."""
    preview = Preview()
    by_overrides = {case.overrides: case for case in cases}

    def check(scenario: Scenario) -> None:
        setting = resolve(scenario, catalogue=catalogue)
        with scenario.placing_problems():
            numerics_of(setting)
        preview.add(by_overrides[scenario.overrides], setting)
        settings.on_check(len(preview.num_rounds), len(cases))

    check_cases(study, cases, check)
    return preview


def _run(folder: StudyFolder, cases: Sequence[Case], preview: Preview, settings: Settings) -> SweptStudy:
    for case in cases:
        folder.begin(case)
    settings.on_start(cases, preview)
    if cases:
        engine = _engine(folder, len(cases), preview, settings)
        with closing(engine.run([case.id for case in cases])) as happening:
            for news in happening:
                if news.kind == "failed":
                    folder.fail(folder.case(news.case), news.error)
                settings.on_news(news)
    swept = load_swept(folder.path)
    if settings.plots:
        _draw(swept)
    return swept


def _engine(folder: StudyFolder, num_cases: int, preview: Preview, settings: Settings) -> Engine:
    jobs = settings.jobs or (1 if preview.uses_gpu else num_cores())
    if settings.engine == "ray":
        from simulator.engines.ray import RayEngine

        return RayEngine(
            partial(attempt_in, folder.path),
            jobs=settings.jobs,
            num_gpus=int(preview.uses_gpu),
            environment={"PYTHONPATH": code_path(), **store_variables()},
        )
    return LocalEngine(
        [sys.executable, "-P", "-m", "splitft.casework", str(folder.path)],
        jobs=min(jobs, num_cases),
        environment=worker_environment({**os.environ, "PYTHONPATH": code_path(), **store_variables()}),
        working_folder=folder.working_folder if folder.working_folder.is_dir() else Path.cwd(),
        logs=folder.logs,
    )


@contextmanager
def _locked(folder: StudyFolder) -> Iterator[None]:
    lock = folder.lock()
    try:
        yield
    finally:
        lock.release()


def _draw(swept: SweptStudy) -> None:
    from analysis.plots import save_plots  # imports matplotlib

    for case in swept.records.finished:
        save_plots(case.run, case.folder / "plots")
