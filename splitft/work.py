"""Who does the learning of a run: nobody, or a trainer that remembers and computes what is new."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from devices.problems import InputError, Problem
from simulator.learning.recipe import executor_of, recipe_of, task_learning
from simulator.learning.remembering import RememberingTrainer, WorkCounts
from simulator.learning.tasks import CostOnly, Learning
from simulator.learning.trainer import Worker
from simulator.own_code import OwnCode
from simulator.run import Progress
from simulator.setting import Setting
from workloads.executors import ExecutorName
from workloads.export import AdapterSettings, write_adapter
from workloads.models import ModelError, ModelFiles
from workloads.numerics import numerics_id
from workloads.results import SavedState
from workloads.run_results import RunResults
from workloads.store import ResultStore, default_folder, default_max_bytes
from workloads.tasks import Recipe

if TYPE_CHECKING:
    from simulator.learning.memory import Memory
    from workloads.rules import Rule
    from workloads.trainer import TorchTrainer

RESULTS = "results"


def numerics_of(setting: Setting, threads: int | None = None) -> str | None:
    """Return the name of the machine and the software that will learn; None where nobody does.

    Args:
        setting: of the run.
        threads: that are computed with; None: as many as this process has.

    Raises:
        InputError: the device that the scenario names is not here.
    """
    execution = setting.scenario.execution
    if execution.trainer == "cost-only":
        return None
    try:
        return numerics_id(execution.device, setting.scenario.workload.dtype, executor_of(setting), threads=threads)
    except ValueError as error:
        raise InputError(Problem(str(error), key="execution.device", value=execution.device)) from None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who wants to know how a run gets on.

    Attributes:
        on_progress: called after every round.
        on_step: called with a number of training steps as they are computed.
        on_note: called with a sentence that a user should read.
    """

    on_progress: Callable[[Progress], None] = lambda _progress: None
    on_step: Callable[[int], None] = lambda _num_steps: None
    on_note: Callable[[str], None] = lambda _note: None


NOBODY = Watch()


Learn = Callable[[Setting, str | None, Path | None, Watch], AbstractContextManager[tuple[Learning, WorkCounts]]]
"""Lets somebody learn; see `learning_of`, which is one."""

MakeWorker = Callable[[Setting, Recipe, Watch], Worker]
"""Makes who really trains; see `make_worker`, which is one."""


@contextmanager
def learning_of(
    setting: Setting,
    numerics: str | None,
    folder: Path | None,
    watch: Watch,
    *,
    make: MakeWorker | None = None,
    num_at_once: int = 1,
) -> Iterator[tuple[Learning, WorkCounts]]:
    """Let somebody learn, and count what is computed; when it ends, every result is where it is kept.

    Args:
        setting: of the run.
        numerics: of `numerics_of`.
        folder: of the run, which keeps the run's own results; None for a run in memory.
        watch: is told of steps and notes.
        make: makes who really trains; None for this process.
        num_at_once: so many units of work does that one do at the same time at most.

    Raises:
        InputError: what the scenario asks for cannot be computed here.
    """
    if numerics is None:
        yield CostOnly(), WorkCounts()
        return
    memories: list[Memory] = [] if folder is None else [RunResults(folder / RESULTS)]
    store = user_store() if setting.scenario.execution.memo else None
    memories += [] if store is None else [store]
    recipe = recipe_of(setting, numerics)
    worker = partial(make or make_worker, setting, recipe, watch)
    trainer = RememberingTrainer(memories, worker, adapter_writer(setting, recipe), store, num_at_once=num_at_once)
    try:
        yield task_learning(setting, recipe, trainer), trainer.counts
    finally:
        trainer.close()


def adapter_writer(setting: Setting, recipe: Recipe) -> Callable[[SavedState, Path], None]:
    """Return what writes a state's adapter into a folder."""
    settings = AdapterSettings(
        base_model=setting.files.address,
        revision=setting.files.revision,
        family=setting.shape.family,
        targets=recipe.targets,
        rank=recipe.rank,
        alpha=recipe.alpha,
        dropout=recipe.dropout,
    )
    return partial(write_adapter, settings)


def user_store() -> ResultStore:
    """Return where results are kept for later runs.

    Raises:
        InputError: the user's bound for it is no number.
    """
    try:
        return ResultStore(default_folder(), max_bytes=default_max_bytes())
    except ValueError as error:
        raise InputError(Problem(str(error))) from None


def make_worker(setting: Setting, recipe: Recipe, watch: Watch) -> Worker:
    """Return who really trains, and say what is special about how; loads torch.

    Raises:
        InputError: it cannot train what the scenario asks for.
    """
    tell_executor(setting, watch)
    trainer = TrainerPlan.of(setting, recipe).trainer(watch.on_step)
    for note in trainer.notes:
        watch.on_note(note)
    return trainer


def tell_executor(setting: Setting, watch: Watch) -> None:
    """Say so where clients are not trained as the scenario asks for."""
    executor = executor_of(setting)
    if setting.scenario.execution.executor not in {executor, "auto"}:
        why = "dropout" if setting.scenario.workload.dropout > 0 else setting.scenario.protocol.kind
        watch.on_note(f"execution.executor is {executor}: with {why} clients are trained one after another")


@dataclass(frozen=True, kw_only=True)
class TrainerPlan:
    """All that is needed to make who really trains, in this process or in another one.

    Attributes:
        recipe, files, device, executor, checkpointing: as `workloads.trainer.TorchTrainer` takes them.
        own_aggregator: the user's own rule of aggregation; None where the scenario names one of ours.
    """

    recipe: Recipe
    files: ModelFiles
    device: str
    executor: ExecutorName
    checkpointing: bool
    own_aggregator: OwnCode | None

    @classmethod
    def of(cls, setting: Setting, recipe: Recipe) -> "TrainerPlan":
        """Return the plan of a run."""
        return cls(
            recipe=recipe,
            files=setting.files,
            device=setting.scenario.execution.device,
            executor=executor_of(setting),
            checkpointing=setting.scenario.workload.gradient_checkpointing,
            own_aggregator=setting.own_code.get("protocol.aggregator"),
        )

    def trainer(self, on_step: Callable[[int], None] | None = None) -> "TorchTrainer":
        """Return who really trains; loads torch.

        Raises:
            InputError: it cannot train what is asked for.
        """
        from workloads.anatomy import UnsupportedModelError
        from workloads.trainer import TorchTrainer

        try:
            return TorchTrainer(
                self.recipe,
                self.files,
                device=self.device,
                executor=self.executor,
                checkpointing=self.checkpointing,
                on_step=on_step,
                own_rule=None if self.own_aggregator is None else own_rule(self.own_aggregator),
            )
        except (ModelError, UnsupportedModelError) as error:
            raise InputError(Problem(str(error), key="workload.model", value=self.files.name)) from None
        except ValueError as error:
            raise InputError(Problem(str(error), key="execution.device", value=self.device)) from None


def own_rule(own: OwnCode) -> "Rule":
    """Return the user's own rule of aggregation, which is given what it cannot harm; loads torch."""
    from workloads.rules import checked, copied

    function = own.load()
    return lambda base, updates: own.answer(
        lambda: function(*copied(base, updates)), lambda merged: checked(base, updates, merged)
    )
