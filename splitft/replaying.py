"""A finished run priced on other machines, without learning anything again."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from devices.problems import InputError, Problem
from simulator.learning.recipe import recipe_of, task_learning
from simulator.learning.remembering import RememberingTrainer, WorkCounts
from simulator.learning.tasks import CostOnly, Learning
from simulator.manifest import describe
from simulator.records.behind import changed
from simulator.records.runs import RunRecords
from simulator.replay import RecordedResults, ReplayedLearning, replayed_scenario, unlearned
from simulator.resume import Origin, recorded_origin
from simulator.setting import Setting, resolve
from splitft.api import FolderExistsError, execute, load_run, refuse_existing, told_to_users, working_in
from splitft.finished import Run
from splitft.work import NOBODY, RESULTS, Watch, adapter_writer
from workloads.run_results import RunResults

if TYPE_CHECKING:
    from simulator.learning.memory import Memory


def replay(run: str | Path, overrides: Sequence[str], out: str | Path, *, plots: bool = True) -> Run:
    """Price a finished run on another fleet, network or server; its plans and what was learned stay.

    Args:
        run: the folder of the finished run.
        overrides: what is changed, as `KEY=VALUE`.
        out: folder to make for the new run.
        plots: whether pictures are drawn.

    Raises:
        InputError: the run's plans would change, or something would have to be learned: then nothing is written. Or
            something cannot be used.
    """
    setting, origin = replay_setting(Path(run), overrides)
    return replay_into(Path(out), Path(run), setting, origin, plots=plots)


def replay_setting(run: Path, overrides: Sequence[str]) -> tuple[Setting, Origin]:
    """Return what a replay works with.

    Raises:
        InputError: there is no such finished run, or something cannot be used.
    """
    with told_to_users():
        records = load_run(run).records
        scenario = replayed_scenario(records, overrides)
    before, now = records.meta["scenario"]["execution"]["trainer"], scenario.execution.trainer
    if before != now:
        message = f"the run was {before} and stays so; use `splitft run` for another"
        raise InputError(Problem(message, "--set", key="execution.trainer", value=now))
    origin = recorded_origin(records.meta, run)
    with working_in(origin.working_folder):
        setting = resolve(scenario, catalogue=origin.catalogue)
    now = json.loads(json.dumps(describe(setting, records.meta["numerics"])))
    notes = [
        f"{key} was {before} in {run} and is {value} now: the replay takes what it is now"
        for key, (before, value) in changed(records.meta, now).items()
    ]
    return replace(setting, notes=(*setting.notes, *notes)), origin


def replay_into(
    folder: Path, run: Path, setting: Setting, origin: Origin, *, watch: Watch = NOBODY, plots: bool = True
) -> Run:
    """Write a replay into a new folder; else as `replay`."""
    refuse_existing(folder)
    records = load_run(run).records
    numerics = records.meta["numerics"]
    try:
        with told_to_users():  # also what is damaged and is read only now
            return execute(setting, folder, origin, numerics, watch, plots=plots, learn=partial(_recorded, records))
    except FolderExistsError:
        raise  # somebody else's, made a moment ago
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)  # of this call: it was not there before
        raise


@contextmanager
def _recorded(
    run: RunRecords, setting: Setting, numerics: str | None, folder: Path | None, _watch: Watch
) -> Iterator[tuple[Learning, WorkCounts]]:
    """Let the clock ask the finished run for what was learned, and refuse other plans; `Learn` for the rest."""
    if numerics is None:
        yield ReplayedLearning(CostOnly(), run), WorkCounts()
        return
    assert run.folder is not None

    def refuse() -> NoReturn:
        raise unlearned(run, setting.scenario)

    memories: list[Memory] = [] if folder is None else [RunResults(folder / RESULTS)]
    memories.append(RecordedResults(run.folder / RESULTS))
    recipe = recipe_of(setting, numerics)
    trainer = RememberingTrainer(memories, refuse, adapter_writer(setting, recipe))
    try:
        yield ReplayedLearning(task_learning(setting, recipe, trainer), run), trainer.counts
    finally:
        trainer.close()
