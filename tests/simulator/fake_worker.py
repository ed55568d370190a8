"""A worker without torch whose results depend, as real ones do, on the states that a task starts from."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from workloads.grouping import groups_of
from workloads.interleaved_tasks import InterleavedTask
from workloads.results import SavedState
from workloads.tasks import AggregateTask, EvalResult, EvalTask, InitialTask, Task, TrainResult, TrainTask

SIZE = 8


class FakeWorker:
    """Computes numbers from a task's own content and from the values of its input states, never from keys.

    Attributes:
        done: every task computed, in order.
        most_held: the largest number of states held at once.
    """

    def __init__(self, on_task: Callable[[Task], None] = lambda _task: None) -> None:
        self.done: list[Task] = []
        self.most_held = 0
        self._states: dict[str, SavedState] = {}
        self._on_task = on_task

    def initial(self, task: InitialTask) -> str:
        return self._made(task, _draw(task.recipe.adapter_seed))

    def train(
        self, tasks: Sequence[TrainTask], on_result: Callable[[TrainResult], None], spent: Collection[str] = ()
    ) -> list[TrainResult]:
        results = []
        members = [task for task in tasks if isinstance(task, InterleavedTask)]
        if members:
            assert len({task.group for task in members}) == 1
            assert [task.place for task in members] == list(range(len(members[0].interleaving.members)))
        for task in members or (task for group in groups_of(tasks) for task in group):
            start = self._states[task.adapter].arrays["adapter/w"]
            moments = None if task.moments is None else self._states[task.moments].arrays["moments/m"]
            batches = [batch.digest for batch in task.batches]
            others = [self._states[key].arrays["moments/m"] for key in task.inputs[2 - (moments is None) :]]
            draw = _draw(
                batches,
                task.ranks,
                task.group,
                start.tobytes(),
                b"" if moments is None else moments.tobytes(),
                *(values.tobytes() for values in others),
            )
            self._made(task, start + draw, moments=draw)
            losses = tuple(float(abs(value)) for value in draw[: len(task.batches)])
            results.append(TrainResult(key=task.key, losses=losses, num_tokens=sum(b.num_tokens for b in task.batches)))
            on_result(results[-1])
            if task.moments in spent:
                del self._states[task.moments]
        return results

    def aggregate(self, task: AggregateTask) -> str:
        updates = [self._states[key].arrays["adapter/w"] for key in task.updates]
        base = self._states[task.base].arrays["adapter/w"]
        mean = sum(weight * values for weight, values in zip(task.weights, updates, strict=True))
        mean = mean - sum(self._states[key].arrays["adapter/w"] for key in task.starts)
        return self._made(task, (base + mean) / 2)

    def evaluate(self, tasks: Sequence[EvalTask]) -> list[EvalResult]:
        return [self._measured(task) for task in tasks]

    def get(self, key: str) -> SavedState:
        return self._states[key]

    def put(self, key: str, state: SavedState) -> None:
        self._hold(key, state)

    def release(self, live: Iterable[str]) -> None:
        self._states = {key: self._states[key] for key in live}

    @property
    def held(self) -> list[str]:
        return list(self._states)

    def _made(self, task: Task, adapter: np.ndarray, moments: np.ndarray | None = None) -> str:
        self._on_task(task)
        self.done.append(task)
        arrays = {"adapter/w": adapter} | ({} if moments is None else {"moments/m": moments})
        self._hold(task.key, SavedState(arrays=arrays, fields={"adapter": {"tensors": ["w"]}}))
        return task.key

    def _measured(self, task: EvalTask) -> EvalResult:
        self._on_task(task)
        self.done.append(task)
        values = self._states[task.adapter].arrays["adapter/w"]
        draw = _draw([batch.digest for batch in task.batches], values.tobytes())
        return EvalResult(key=task.key, loss=float(1 + abs(draw[0])), token_accuracy=0.5, num_tokens=7)

    def _hold(self, key: str, state: SavedState) -> None:
        self._states[key] = state
        self.most_held = max(self.most_held, len(self._states))


def write_values(state: SavedState, folder: Path) -> None:
    """Write an adapter as a file of its values."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "w").write_bytes(state.tensors("adapter")["w"].tobytes())


def _draw(*content: object) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(repr(content).encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(SIZE)
