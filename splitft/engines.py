"""Who computes what a run learns: this process, or workers of a Ray cluster that divide the clients of a round."""

import dataclasses
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from devices.problems import InputError, Problem, did_you_mean
from simulator.engines.local import worker_environment
from simulator.learning.remembering import WorkCounts
from simulator.learning.tasks import Learning
from simulator.learning.trainer import Worker
from simulator.participation.selection import largest_cohort
from simulator.setting import Setting
from splitft.work import TrainerPlan, Watch, learning_of, numerics_of, tell_executor
from workloads import machine
from workloads.numerics import numerics_id
from workloads.tasks import RULES_WITH_SHARED_SERVER, Recipe

if TYPE_CHECKING:
    from simulator.engines.ray_crew import Demand

EngineName = Literal["local", "ray"]

NUM_AT_ONCE = 64  # units of work that are claimed together: each holds a file open, and all are awaited before the next


def engine_named(name: str) -> EngineName:
    """Return an engine's name, checked.

    Raises:
        InputError: there is no such engine.
    """
    known: tuple[EngineName, ...] = get_args(EngineName)
    for engine in known:
        if engine == name:
            return engine
    message = f"expected {' or '.join(known)}, got '{name}'{did_you_mean(name, known)}"
    raise InputError(Problem(message, key="--engine", value=name))


def spread_by(engine: str, jobs: int | None) -> "Spread | None":
    """Return who computes where that is not this process.

    Raises:
        InputError: there is no such engine, or it does not take a number of jobs.
    """
    if engine_named(engine) == "ray":
        return Spread(jobs=jobs)
    if jobs is not None:
        raise InputError(Problem("a run is one process here; workers are those of --engine ray", key="--jobs"))
    return None


def code_path() -> str:
    """Return the PYTHONPATH by which other processes find this splitft."""
    home = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """Workers of a Ray cluster, each a process that computes with one thread, unless OMP_NUM_THREADS says otherwise.

    Attributes:
        jobs: so many; None: as many as the cluster has room for and a round has clients.
    """

    jobs: int | None = None

    @property
    def num_threads(self) -> int:
        """Return how many threads a worker computes with."""
        return machine.asked_threads() or 1

    def numerics_of(self, setting: Setting) -> str | None:
        """Return what `splitft.work.numerics_of` does, for the workers: their machines have to be as this one.

        Raises:
            InputError: the scenario names a device that is not here, or one GPU of several.
        """
        device = setting.scenario.execution.device
        if ":" in device:
            message = "--engine ray gives each worker a GPU of its own; name none: auto, cpu or cuda"
            raise InputError(Problem(message, key="execution.device", value=device))
        return numerics_of(setting, self.num_threads)

    @contextmanager
    def learning_of(
        self, setting: Setting, numerics: str | None, folder: Path | None, watch: Watch
    ) -> Iterator[tuple[Learning, WorkCounts]]:
        """Let the workers learn; they are hired when there is something to compute. See `splitft.work.learning_of`."""
        from simulator.engines.cluster import check_reachable

        if numerics is None:
            watch.on_note("--engine ray: nothing is learned, so that there is nothing to spread")
        else:
            check_reachable()
        with ExitStack() as stack:
            make = partial(self._make_worker, stack)
            with learning_of(setting, numerics, folder, watch, make=make, num_at_once=NUM_AT_ONCE) as learning:
                yield learning

    def _make_worker(self, stack: ExitStack, setting: Setting, recipe: Recipe, watch: Watch) -> Worker:
        """Return a worker that spreads its tasks, until the stack is closed."""
        from simulator.engines.ray_crew import hired
        from simulator.learning.spreading import SpreadWorker

        tell_executor(setting, watch)
        if recipe.learning_rule in RULES_WITH_SHARED_SERVER:
            watch.on_note(
                f"with {recipe.learning_rule} the steps of a round follow each other, so that one worker trains all "
                "its clients; only evaluations are spread"
            )
        device = machine.device_name(setting.scenario.execution.device).partition(":")[0]
        plan = dataclasses.replace(TrainerPlan.of(setting, recipe), device=device)
        crew = stack.enter_context(
            hired(partial(make_there, plan), self._demand(setting, device), self._environment(), watch.on_note)
        )
        return SpreadWorker(crew, on_step=watch.on_step, on_note=watch.on_note)

    def _demand(self, setting: Setting, device: str) -> "Demand":
        from simulator.engines.ray_crew import Demand

        return Demand(
            jobs=self.jobs,
            max_useful=largest_cohort(setting.scenario.selection, len(setting.fleet)),
            num_threads=self.num_threads,
            uses_gpu=device != "cpu",
            num_cores=machine.num_cores(),
        )

    def _environment(self) -> Mapping[str, str]:
        """Return the variables of workers: what chooses kernels here does so there."""
        switches = {name: os.environ[name] for name in machine.SWITCHES if name in os.environ}
        threads = {"OMP_NUM_THREADS": str(self.num_threads), "PYTHONPATH": code_path()}
        return worker_environment({**switches, **threads})


def make_there(plan: TrainerPlan) -> "tuple[Worker, tuple[str, ...]]":
    """Return who trains in a process that may be another machine's, and what a user should know of how.

    Raises:
        InputError: this machine would give other numbers than the one that the plan is from, or cannot train.
    """
    host, recipe = socket.gethostname(), plan.recipe
    numerics = numerics_id(plan.device, recipe.dtype, plan.executor)
    if numerics != recipe.numerics:
        there, here = numerics.split("; "), recipe.numerics.split("; ")
        only_there = "; ".join(part for part in there if part not in here) or "nothing else"
        only_here = "; ".join(part for part in here if part not in there) or "nothing else"
        message = (
            f"a worker on {host} would compute other numbers than the machine that runs the simulation; all have to be "
            f"alike. There: {only_there}. Here: {only_here}"
        )
        raise InputError(Problem(message, key="--engine", value="ray"))
    files = dataclasses.replace(plan.files)  # without the digests that were found where the plan is from
    try:
        is_same = files.model_digest == recipe.model_digest
    except OSError as error:
        raise _without_model(host, files.folder, f"cannot be read: {error.strerror}") from None
    if not is_same:
        raise _without_model(host, files.folder, "has other content there")
    trainer = dataclasses.replace(plan, files=files).trainer()
    return trainer, trainer.notes


def _without_model(host: str, folder: Path, why: str) -> InputError:
    return InputError(Problem(f"the model's folder {folder} {why} (a worker on {host})", key="workload.model"))
