"""A trainer that computes nothing twice.

Each task is looked up by its key: in the run's own results, so that a run that was interrupted goes on where it
stopped, then in the user's store, where earlier runs have left theirs. Only for a task that nobody has done is a worker
made, which for the real one means loading torch, and given the states that the task starts from. A state that has got
lost is computed again from the tasks that led to it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from simulator.learning.background import Background
from simulator.learning.claiming import Claims, share
from simulator.learning.memory import Memory
from simulator.learning.trainer import Worker
from simulator.learning.units import Unit, unit_inputs, unit_name
from workloads.results import Record, SavedState, seal
from workloads.tasks import AggregateTask, EvalResult, EvalTask, InitialTask, Task, TrainResult, TrainTask

T = TypeVar("T", TrainResult, EvalResult)
K = TypeVar("K", TrainTask, EvalTask)


@dataclass(kw_only=True)
class WorkCounts:
    """How much was computed in this process and how much was remembered: training steps, and evaluations."""

    num_steps_computed: int = 0
    num_steps_remembered: int = 0
    num_evals_computed: int = 0
    num_evals_remembered: int = 0


class RememberingTrainer:
    """Answers tasks from memories, and has a worker compute the others.

    Attributes:
        counts: what was computed and what was remembered so far.

    Args:
        memories: in the order in which they are asked; results are written into the last one first.
        make_worker: called at most once, when something has to be computed.
        write_adapter: writes a state's adapter into a folder.
        claims: shared with other runs at work, so that none computes what another one is at; None where nobody else is
            to be asked. Their results have to come in by one of the memories.
        num_at_once: units that are claimed, and evaluations that are asked for, at the same time: more than one for a
            worker that computes several.
    """

    def __init__(
        self,
        memories: Sequence[Memory],
        make_worker: Callable[[], Worker],
        write_adapter: Callable[[SavedState, Path], None],
        claims: Claims | None = None,
        *,
        num_at_once: int = 1,
    ) -> None:
        self.counts, self._claims, self._num_at_once = WorkCounts(), claims, num_at_once
        self._memories, self._make_worker, self._write_adapter = memories, make_worker, write_adapter
        self._worker: Worker | None = None
        self._held: dict[str, None] = {}  # keys of the states that the worker has
        self._recalled: dict[str, tuple[Unit, Record]] = {}  # tasks answered from memory, whose states may be wanted
        self._live: list[str] = []
        self._background = Background()

    def initial(self, task: InitialTask) -> str:
        """Make the first global adapter, or know that it was made."""
        return self._make(task)

    def aggregate(self, task: AggregateTask) -> str:
        """Make the next global adapter, or know that it was made."""
        return self._make(task)

    def train(self, tasks: Sequence[TrainTask], spent: Collection[str] = ()) -> list[TrainResult]:
        """Return what each task reports; those that nobody has done are computed together. See `Trainer.train`."""
        known = self._recall_results(tasks, TrainResult)
        missing = {unit_name(task) for task in tasks if task.key not in known}
        units: dict[str, dict[str, TrainTask]] = {}
        for task in tasks:
            units.setdefault(unit_name(task), {})[task.key] = task
        computed = dict[str, TrainResult]()
        self._once(
            {name: tuple(unit.values()) for name, unit in units.items() if name in missing},
            TrainResult,
            known,
            lambda todo: computed.update(self._train(todo, spent)),
        )
        for key, task in ((task.key, task) for task in tasks if task.key in self._recalled):
            self._recalled[key] = tuple(units[unit_name(task)].values()), self._recalled[key][1]
        self.counts.num_steps_remembered += sum(len(task.batches) for task in tasks if task.key not in computed)
        known |= computed
        return [known[task.key] for task in tasks]

    def evaluate(self, tasks: Sequence[EvalTask]) -> list[EvalResult]:
        """Return what each measurement gave; those that nobody has made are made."""
        known = self._recall_results(tasks, EvalResult)
        missing = {task.key: (task,) for task in tasks if task.key not in known}
        computed = dict[str, EvalResult]()

        def measure(todo: Sequence[EvalTask]) -> None:
            for first in range(0, len(todo), self._num_at_once):
                some = todo[first : first + self._num_at_once]
                for task, result in zip(some, self._ready_for(some).evaluate(some), strict=True):
                    computed[task.key] = result
                    self._keep(task, result, None)

        self._once(missing, EvalResult, known, measure)
        known |= computed
        self.counts.num_evals_computed += len(computed)
        self.counts.num_evals_remembered += sum(task.key not in computed for task in tasks)
        return [known[task.key] for task in tasks]

    def release(self, live: Iterable[str]) -> None:
        """Forget every state but those named, here and in the run's own results."""
        self._live = keys = list(dict.fromkeys(live))
        if self._worker is not None:
            # Whatever is needed later is held from here on, so that what led to it may be forgotten.
            self._worker_with(keys)
            self._hold_only(keys)
            self._recalled.clear()
        for memory in self._memories:
            self._background.do(memory.release, keys)

    def export(self, key: str, folder: Path) -> None:
        """Write a global adapter as a PEFT folder."""
        recalled = self._recalled.get(key)
        state = None if recalled is None or key in self._held else self._load(recalled[1])
        if state is None:
            state = self._worker_with([key]).get(key)
        self._write_adapter(state, folder)

    def close(self) -> None:
        """Wait until every result is kept."""
        try:
            self._background.close()
        finally:
            for memory in self._memories:
                memory.close()

    def _make(self, task: InitialTask | AggregateTask) -> str:
        if self._recall(task) is None:
            if self._claims is None:
                self._compute((task,))
            else:
                share(
                    self._claims,
                    {task.key: (task,)},
                    is_done=lambda unit: self._recall(unit[0]) is not None,
                    compute=lambda units: self._compute(*units),
                    later=self._background.do,
                )
        return task.key

    def _once(
        self,
        units: Mapping[str, tuple[K, ...]],
        kind: type[T],
        known: dict[str, T],
        compute: Callable[[Sequence[K]], None],
    ) -> None:
        """Compute units, but those that another run is computing; add what that one has to say to `known`."""

        def compute_units(todo: Iterable[tuple[K, ...]]) -> None:
            compute([task for unit in todo for task in unit])

        if self._claims is None:
            compute_units(units.values())
            return

        def is_done(unit: tuple[K, ...]) -> bool:
            known.update(found := self._recall_results(unit, kind))
            return len(found) == len(unit)

        share(
            self._claims,
            units,
            is_done=is_done,
            compute=compute_units,
            later=self._background.do,
            num_at_once=self._num_at_once,
        )

    def _recall(self, task: Task) -> Record | None:
        for memory in self._memories:
            record = memory.recall(task.key)
            if record is not None:
                self._background.do(self._note, record)
                if record.state is not None:
                    self._recalled[task.key] = (task,), record
                return record
        return None

    def _recall_results(self, tasks: Sequence[Task], kind: type[T]) -> dict[str, T]:
        records = {task.key: record for task in tasks if (record := self._recall(task)) is not None}
        return {key: record.result for key, record in records.items() if isinstance(record.result, kind)}

    def _compute(self, unit: Unit) -> None:
        """Compute tasks that make states."""
        training = [task for task in unit if isinstance(task, TrainTask)]
        if training:
            self._train(training)
            return
        for task in unit:
            worker = self._ready_for([task])
            if isinstance(task, InitialTask):
                worker.initial(task)
            elif isinstance(task, AggregateTask):
                worker.aggregate(task)
            self._keep_state(task, None)

    def _train(self, tasks: Sequence[TrainTask], spent: Collection[str] = ()) -> dict[str, TrainResult]:
        if not tasks:
            return {}
        by_key = {task.key: task for task in tasks}

        def keep(result: TrainResult) -> None:
            self.counts.num_steps_computed += len(by_key[result.key].batches)
            self._keep_state(by_key[result.key], result)
            used = by_key[result.key].moments
            if used is not None and used in spent:
                self._held.pop(used, None)

        return {result.key: result for result in self._ready_for(tasks).train(tasks, keep, spent)}

    def _keep_state(self, task: Task, result: TrainResult | None) -> None:
        assert self._worker is not None
        self._held[task.key] = None
        self._keep(task, result, self._worker.get(task.key) if self._memories else None)

    def _keep(self, task: Task, result: TrainResult | EvalResult | None, state: SavedState | None) -> None:
        if self._memories:
            self._background.do(self._write, task, result, state)

    def _write(self, task: Task, result: TrainResult | EvalResult | None, state: SavedState | None) -> None:
        record, content = seal(task, result, state)
        twin = None
        for memory in reversed(self._memories):
            twin = memory.keep(record, content, twin) or twin

    def _note(self, record: Record) -> None:
        twin = None
        for memory in reversed(self._memories):
            twin = memory.note(record, twin) or twin

    def _ready_for(self, tasks: Sequence[Task]) -> Worker:
        """Return the worker, holding what the tasks start from."""
        return self._worker_with(list(dict.fromkeys(key for task in tasks for key in task.inputs)))

    def _worker_with(self, keys: Sequence[str]) -> Worker:
        """Return the worker, holding these states: those that memories have, and the others computed again."""
        if self._worker is None:
            self._worker = self._make_worker()
        wanted = {*self._held, *self._live, *keys}
        lost = self._take_in(keys)
        num_uses = Counter(key for unit in lost for key in unit_inputs(unit))
        for unit in lost:
            self._compute(unit)
            num_uses.subtract(unit_inputs(unit))
            self._hold_only([key for key in self._held if key in wanted or num_uses[key] > 0])
        return self._worker

    def _take_in(self, keys: Sequence[str]) -> list[Unit]:
        """Give the worker the states of these keys; return what has to be computed to have them all, in order."""
        lost: dict[str, Unit] = {}
        waiting = dict[str, Unit]()  # lost, and so may be what they start from
        stack = list(keys)
        while stack:
            key = stack.pop()
            if key in self._held:
                continue
            unit, record = self._recalled[key]
            name = unit_name(unit[0])
            if name in waiting:
                lost.setdefault(name, waiting[name])  # all that it starts from is there by now, or in the list
            elif (state := self._load(record)) is None:
                waiting[name] = unit
                stack += [key, *unit_inputs(unit)]
            else:
                assert self._worker is not None
                self._worker.put(key, state)
                self._held[key] = None
        return list(lost.values())

    def _load(self, record: Record) -> SavedState | None:
        return next((state for memory in self._memories if (state := memory.load(record)) is not None), None)

    def _hold_only(self, keys: Iterable[str]) -> None:
        assert self._worker is not None
        self._held = {key: None for key in keys if key in self._held}
        self._worker.release(self._held)
