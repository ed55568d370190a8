"""The Python interface: run a scenario, go on with a run, read a run."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from analysis.summary import summarise
from devices.problems import InputError, Problem, shown
from simulator.manifest import describe
from simulator.records.recorder import RunLock, RunWriter
from simulator.records.runs import RunFolderError, RunRecords, read_meta, read_run
from simulator.resume import Origin, recorded_origin, recorded_scenario, refuse_changes
from simulator.run import Progress, simulate
from simulator.scenario import Scenario
from simulator.setting import OnTokens, Setting, resolve
from splitft.engines import EngineName, Spread, spread_by
from splitft.finished import Run
from splitft.options import OUT
from splitft.work import NOBODY, Learn, Watch, learning_of, numerics_of

OnProgress = Callable[[Progress], None]
OnStep = Callable[[int], None]

Folders = str | Path | Sequence[str | Path]
"""One folder, or several."""


def run(
    scenario: Scenario | str | Path,
    out: str | Path | None = None,
    *,
    catalogue: Folders = (),
    engine: EngineName = "local",
    jobs: int | None = None,
    on_progress: OnProgress | None = None,
    on_step: OnStep | None = None,
    on_tokens: OnTokens | None = None,
) -> Run:
    """Run a scenario and return its records.

    Args:
        scenario: what to run; a text or path is the name of a shipped scenario or a YAML file, as for `Scenario.load`.
        out: folder to make for the run; None keeps everything in memory.
        catalogue: folder or folders with your own devices, networks and fleets.
        engine: `local`, or `ray` to divide the clients of a round between the workers of a Ray cluster.
        jobs: how many workers; None: as many as the cluster has room for.
        on_progress: called after every round.
        on_step: called with a number of training steps as they are computed; remembered ones are not.
        on_tokens: called while a dataset is tokenised that is not in the cache.

    Raises:
        InputError: something in the scenario cannot be used, or `out` exists; nothing has been written.
        TypeError: `scenario` is neither.
    """
    if isinstance(scenario, str | Path):
        scenario = Scenario.load(scenario)
    if not isinstance(scenario, Scenario):
        raise TypeError(f"scenario: expected a Scenario, a name or a path, got {type(scenario).__name__}")
    folder, catalogue_folders = None if out is None else Path(out), folders(catalogue)
    refuse_existing(folder)
    spread = spread_by(engine, jobs)
    setting = resolve(scenario, catalogue=catalogue_folders, on_tokens=on_tokens)
    watch = Watch(on_progress=on_progress or _ignore, on_step=on_step or _ignore)
    return run_setting(setting, folder, catalogue=catalogue_folders, watch=watch, spread=spread)


class FolderExistsError(InputError):
    """The folder of a run or study to come is there already."""


def run_setting(
    setting: Setting,
    folder: Path | None,
    *,
    catalogue: Sequence[Path] = (),
    watch: Watch = NOBODY,
    plots: bool = True,
    spread: Spread | None = None,
) -> Run:
    """Run what `simulator.setting.resolve` has made of a scenario, with pictures or without; else as `run`.

    Args:
        setting: of the run.
        folder: to make for it; None keeps everything in memory.
        catalogue: folders with the user's own files, for a resume to find.
        watch: is told how the run gets on.
        plots: whether pictures are drawn.
        spread: who computes; None for this process.

    Raises:
        FolderExistsError: the folder is there, even if it was made a moment ago; nothing has been done.
        InputError: the folder cannot be made, or this machine cannot do what the scenario asks for.
    """
    origin = Origin.of(setting.scenario, catalogue)
    with setting.scenario.placing_problems():
        numerics = _numerics(setting, spread)
    return execute(setting, folder, origin, numerics, watch, plots=plots, learn=_learn(spread))


def _numerics(setting: Setting, spread: Spread | None) -> str | None:
    return numerics_of(setting) if spread is None else spread.numerics_of(setting)


def _learn(spread: Spread | None) -> Learn:
    return learning_of if spread is None else spread.learning_of


def resume(
    folder: str | Path,
    *,
    engine: EngineName = "local",
    jobs: int | None = None,
    on_progress: OnProgress | None = None,
    on_tokens: OnTokens | None = None,
) -> Run:
    """Go on with a run that was interrupted, and return its records; those of a finished run are only read.

    The simulated clock starts again at 0, and what the run has trained and measured is taken from its folder, so that
    the end is the same to the bit as that of a run that was never interrupted.

    Args:
        folder: of the run.
        engine: as in `run`.
        jobs: as in `run`.
        on_progress: called after every round.
        on_tokens: called while a dataset is tokenised that is not in the cache.

    Raises:
        InputError: this is no run folder, another process is at work on it, or scenario, hardware, data, machine or
            software are not what they were when it began.
    """
    spread = spread_by(engine, jobs)
    with told_to_users():
        if read_meta(Path(folder))["status"] == "finished":
            return load_run(folder)
    with open_interrupted(Path(folder)) as interrupted:
        watch = Watch(on_progress=on_progress or _ignore)
        return interrupted.go_on(interrupted.resolve(on_tokens), watch, spread=spread)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterruptedRun:
    """A run that was not finished, and that nobody else can go on with meanwhile.

    Attributes:
        folder: of the run.
        scenario: what was run.
    """

    folder: Path
    scenario: Scenario
    _lock: RunLock
    _origin: Origin

    def resolve(self, on_tokens: OnTokens | None = None) -> Setting:
        """Return what the run works with, found as when it began; see `simulator.setting.resolve`."""
        with working_in(self._origin.working_folder):
            setting = resolve(self.scenario, catalogue=self._origin.catalogue, on_tokens=on_tokens)
        noted = read_meta(self.folder)["notes"]  # what overrides left out is known from there alone
        return dataclasses.replace(setting, notes=tuple(dict.fromkeys((*noted, *setting.notes))))

    def go_on(
        self, setting: Setting, watch: Watch = NOBODY, *, plots: bool = True, spread: Spread | None = None
    ) -> Run:
        """Run to the end, and draw pictures or not; see `run_setting`.

        Raises:
            InputError: something is not what it was when the run began.
        """
        numerics = _numerics(setting, spread)
        refuse_changes(self.folder, read_meta(self.folder), describe(setting, numerics))
        return execute(
            setting, self.folder, self._origin, numerics, watch, plots=plots, lock=self._lock, learn=_learn(spread)
        )


@contextmanager
def open_interrupted(folder: Path) -> Iterator[InterruptedRun]:
    """Take hold of a run that was not finished.

    Raises:
        InputError: this is no such folder, another process is at work on it, or the scenario's file has changed.
    """
    with told_to_users():
        read_meta(folder)  # before anything is written into a folder that may be something else
        lock = RunLock(folder)
    try:
        with told_to_users():
            meta = read_meta(folder)
        if meta["status"] == "finished":
            raise InputError(Problem(f"{folder}: another process has just finished this run"))
        origin = recorded_origin(meta, folder)
        scenario = recorded_scenario(meta, origin, folder)
        yield InterruptedRun(folder=folder, scenario=scenario, _lock=lock, _origin=origin)
    finally:
        lock.release()


def load_run(folder: str | Path) -> Run:
    """Return a finished run from its folder.

    Raises:
        InputError: this is not the folder of a finished run.
    """
    with told_to_users():
        return Run(read_run(Path(folder)))


def refuse_existing(folder: Path | None, who: str = "a run") -> None:
    """Raise InputError where a folder to come exists already, or cannot be made; `who` says what for it is."""
    if folder is None:
        return
    try:
        taken = folder.exists()
        parent = next(parent for parent in folder.absolute().parents if parent.exists())
    except OSError as error:  # such as a name that is too long
        raise InputError(Problem(f"{shown(str(folder))} cannot be made: {error.strerror}", key=OUT)) from None
    if taken:
        raise exists(folder, who)
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise InputError(Problem(f"{folder} cannot be made: {parent} is not a folder that you may write to", key=OUT))


def execute(
    setting: Setting,
    folder: Path | None,
    origin: Origin,
    numerics: str | None,
    watch: Watch,
    *,
    plots: bool,
    learn: Learn,
    lock: RunLock | None = None,
) -> Run:
    """Run and record a setting; for what the arguments mean see `run_setting`, `RunWriter` and `learning_of`."""
    started_s = time.monotonic()
    host: dict[str, object] = {"origin": origin.to_json()}
    detail = setting.scenario.execution.spans
    head = {**describe(setting, numerics), "host": host}
    with _new_writer(folder, head, detail, lock) as writer, setting.scenario.placing_problems():
        with learn(setting, numerics, folder, watch) as (learning, counts):
            ended_early = simulate(setting, learning, writer, watch.on_progress)
            if folder is not None:
                learning.export(folder / "adapter")
        records = writer.records()
        if folder is not None and plots:
            _save_plots(records, folder)
        host |= {"wall_s": time.monotonic() - started_s, **dataclasses.asdict(counts)}
        return Run(writer.finish(summary=summarise(records).to_json(), ended_early=ended_early, host=host))


def _new_writer(folder: Path | None, head: dict[str, object], detail: str, lock: RunLock | None) -> RunWriter:
    try:
        return RunWriter(folder, head, spans=detail, lock=lock)
    except FileExistsError:
        assert folder is not None  # only a folder can be there already
        raise exists(folder) from None
    except RunFolderError as error:
        raise InputError(Problem(str(error), key=OUT)) from None


def exists(folder: Path, who: str = "a run") -> FolderExistsError:
    """Return the error that says that the folder to come of a run, a study or an export is there already."""
    return FolderExistsError(Problem(f"{folder} exists; {who} never writes into a folder that is there", key=OUT))


def folders(catalogue: Folders) -> list[Path]:
    """Return the user's folders of profiles, of which one may be named alone."""
    named = [catalogue] if isinstance(catalogue, str | Path) else catalogue
    return [Path(path) for path in named]


def _ignore(_news: object) -> None:
    """Do nothing: nobody watches."""


@contextmanager
def told_to_users() -> Iterator[None]:
    """Turn what is wrong with a run folder into a user's problem."""
    try:
        yield
    except RunFolderError as error:
        raise InputError(Problem(str(error))) from None


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in another folder, where it still is."""
    before = Path.cwd()
    if folder.is_dir():
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _save_plots(records: RunRecords, folder: Path) -> None:
    from analysis.plots import save_plots  # imports matplotlib

    save_plots(records, folder / "plots")
