"""The Python interface: run a scenario, read a run."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from analysis.summary import RunSummary, summarise
from devices.problems import InputError, Problem
from simulator.learning import CostOnly, Learning
from simulator.manifest import describe
from simulator.recipe import recipe_of, task_learning
from simulator.recorder import RunWriter
from simulator.records import RunFolderError, RunRecords, read_run
from simulator.run import Progress, simulate
from simulator.scenario import Scenario
from simulator.setting import OnTokens, Setting, resolve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OnProgress = Callable[[Progress], None]


class Run:
    """A finished run: its records as pandas frames, its summary and its pictures.

    Attributes:
        folder: where it is on disk; None where it was run without a folder.
    """

    def __init__(self, records: RunRecords) -> None:
        self.records = records
        self.folder = records.folder

    @property
    def spans(self) -> pd.DataFrame:
        """Where the simulated time went: one row per closed interval."""
        return self.records.spans

    @property
    def rounds(self) -> pd.DataFrame:
        """One row per round."""
        return self.records.rounds

    @property
    def clients(self) -> pd.DataFrame:
        """One row per round and client."""
        return self.records.clients

    @property
    def evals(self) -> pd.DataFrame:
        """One row per held-out evaluation."""
        return self.records.evals

    @property
    def summary(self) -> RunSummary:
        """The totals: simulated time, bytes, losses, targets, the slowest client."""
        return summarise(self.records)

    def plot(self, name: str) -> "Figure":
        """Return a picture by name, as in the folder `plots/`.

        Raises:
            ValueError: there is no picture of this name for this run; the message names those there are.
        """
        from analysis.plots import figure

        return figure(self.records, name)

    def __repr__(self) -> str:
        """Say what was run and where it is."""
        place = str(self.folder) if self.folder else "in memory"
        return f"<Run {self.summary.name!r}: {len(self.rounds)} rounds, {place}>"


def run(
    scenario: Scenario,
    out: str | Path | None = None,
    *,
    catalogue: Sequence[str | Path] = (),
    on_progress: OnProgress | None = None,
    on_tokens: OnTokens | None = None,
) -> Run:
    """Run a scenario and return its records.

    Args:
        scenario: what to run; `Scenario.load("quickstart")` loads a shipped one.
        out: folder to make for the run; None keeps everything in memory.
        catalogue: folders with your own devices, networks and fleets.
        on_progress: called after every round.
        on_tokens: called while a dataset is tokenised that is not in the cache.

    Raises:
        InputError: something in the scenario cannot be used, or `out` exists; nothing has been written.
    """
    folder = None if out is None else Path(out)
    refuse_existing(folder)
    setting = resolve(scenario, catalogue=[Path(path) for path in catalogue], on_tokens=on_tokens)
    return run_setting(setting, folder, on_progress=on_progress)


def run_setting(setting: Setting, folder: Path | None, *, on_progress: OnProgress | None = None) -> Run:
    """Run what `simulator.setting.resolve` has made of a scenario; else as `run`."""
    started_s = time.monotonic()
    learning, numerics = _learning(setting)
    with RunWriter(folder, describe(setting, numerics)) as writer:
        simulate(setting, learning, writer, on_progress or (lambda _: None))
        records = writer.records()
        if folder is not None:
            learning.export(folder / "adapter")
            _save_plots(records, folder)
        num_steps = 0 if numerics is None else int(records.clients["num_steps"].sum())
        host = {"wall_s": time.monotonic() - started_s, "num_steps_computed": num_steps, "num_steps_remembered": 0}
        return Run(writer.finish(summary=summarise(records).to_json(), host=host))


def load_run(folder: str | Path) -> Run:
    """Return a finished run from its folder.

    Raises:
        InputError: this is not the folder of a finished run.
    """
    try:
        return Run(read_run(Path(folder)))
    except RunFolderError as error:
        raise InputError(Problem(str(error))) from None


def refuse_existing(folder: Path | None) -> None:
    """Raise InputError where the folder of a run to come exists already, or cannot be made."""
    if folder is None:
        return
    if folder.exists():
        raise InputError(Problem(f"{folder} exists; a run never writes into a folder that is there", key="--out"))
    parent = next(parent for parent in folder.absolute().parents if parent.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise InputError(
            Problem(f"{folder} cannot be made: {parent} is not a folder that you may write to", key="--out")
        )


def _learning(setting: Setting) -> tuple[Learning, str | None]:
    """Return who learns, and the name of the machine and software that do; None where nobody does."""
    execution = setting.scenario.execution
    if execution.trainer == "cost-only":
        return CostOnly(), None
    from workloads.numerics import numerics_id  # imports torch
    from workloads.trainer import TorchTrainer

    try:
        numerics = numerics_id(execution.device, setting.scenario.workload.dtype)
        recipe = recipe_of(setting, numerics)
        trainer = TorchTrainer(recipe, setting.model, device=execution.device)
    except ValueError as error:
        raise InputError(Problem(str(error), key="execution.device", value=execution.device)) from None
    return task_learning(setting, recipe, trainer), numerics


def _save_plots(records: RunRecords, folder: Path) -> None:
    from analysis.plots import save_plots  # imports matplotlib

    save_plots(records, folder / "plots")
