"""The mathematics of a run: what the clock has settled becomes training tasks, in zero simulated time.

`Learning` is what a run asks for. `TaskLearning` has a trainer do it; `CostOnly` learns nothing, so that only the clock
runs. Both give the same spans, unless a policy reads performances.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from simulator.draws import integer
from simulator.learning.trainer import Trainer
from simulator.protocols.rounds import ClientPlan, RoundLog
from workloads.aggregators import LEAVE_DELTA, RESTART
from workloads.batches import Batch
from workloads.grouping import grouped
from workloads.tasks import AggregateTask, EvalResult, EvalTask, InitialTask, Recipe, TrainResult, TrainTask

Ranks = Callable[[int], tuple[int, ...]]
"""The LoRA rank of each block for a client of a given cut."""


@dataclass(frozen=True, kw_only=True)
class LearningData:
    """Where batches come from.

    Attributes:
        training: (client, round) -> that round's batches in order.
        validation: client -> batches of its own validation part.
        held_out: batches of the global held-out part.
        num_samples: training samples of each client.
    """

    training: Callable[[int, int], tuple[Batch, ...]]
    validation: Callable[[int], tuple[Batch, ...]]
    held_out: tuple[Batch, ...]
    num_samples: np.ndarray


class Learning(Protocol):
    """What a run asks of the mathematics, once the clock has settled a round."""

    def train(self, log: RoundLog) -> Mapping[int, TrainResult]:
        """Train the clients that finished the round and aggregate what they learned; results by client."""

    def validate(self, clients: Sequence[int]) -> Mapping[int, EvalResult]:
        """Measure each client's own adapter, as its last training left it, on its own validation part."""

    def evaluate(self) -> EvalResult | None:
        """Measure the global adapter on the held-out part."""

    def export(self, folder: Path) -> None:
        """Write the global adapter as a PEFT folder, where there is one."""


class CostOnly:
    """Learns nothing."""

    def train(self, log: RoundLog) -> Mapping[int, TrainResult]:  # noqa: ARG002
        """Return no results."""
        return {}

    def validate(self, clients: Sequence[int]) -> Mapping[int, EvalResult]:  # noqa: ARG002
        """Return no measurements: performances are unknown."""
        return {}

    def evaluate(self) -> EvalResult | None:
        """Return no measurement."""
        return None

    def export(self, folder: Path) -> None:
        """Write nothing: there is no adapter."""


class TaskLearning:
    """Has a trainer learn. Keeps the names of the states that later rounds start from, never tensors.

    These are the global adapter and each client's last training, whose optimizer moments the client carries on with.

    Args:
        trainer: who does the work.
        recipe: what all tasks share.
        data: where batches come from.
        ranks: by cut.
        aggregator: the rule of aggregation.
        max_group_tokens: of clients that are trained together (`workloads.grouping`); None where nobody is.
    """

    def __init__(
        self,
        trainer: Trainer,
        recipe: Recipe,
        data: LearningData,
        ranks: Ranks,
        aggregator: str,
        *,
        max_group_tokens: int | None = None,
    ) -> None:
        self._trainer, self._recipe, self._data, self._ranks = trainer, recipe, data, ranks
        self._aggregator, self._max_group_tokens = aggregator, max_group_tokens
        self._adapter = trainer.initial(InitialTask(recipe=recipe))
        self._start: str | None = None  # the last round's first state, where clients measure with its base delta
        self._trained: dict[int, str] = {}
        self._cuts: dict[int, int] = {}
        self._num_steps: dict[int, int] = {}

    def train(self, log: RoundLog) -> Mapping[int, TrainResult]:
        """Train the clients that finished the round and aggregate; weights are their numbers of training samples."""
        finished = [c.plan for c in log.finished]
        if not finished:
            return {}  # everything stays as it is
        tasks = [self._train_task(plan.client, plan.cut, log.round) for plan in finished]
        if self._max_group_tokens is not None:
            tasks = grouped(tasks, self._max_group_tokens)
        spent = [self._trained[plan.client] for plan in finished if plan.client in self._trained]
        results = self._trainer.train(tasks, spent)
        self._aggregate(log.round, self._aggregator, [plan.client for plan in finished], results)
        for plan, task, result in zip(finished, tasks, results, strict=True):
            self._settle(plan, task, result)
        self._release()
        return {plan.client: result for plan, result in zip(finished, results, strict=True)}

    def validate(self, clients: Sequence[int]) -> Mapping[int, EvalResult]:
        """Measure each client's own adapter on its own validation part, across the cut and the wire."""
        tasks = [
            EvalTask(
                recipe=self._recipe,
                adapter=self._trained[c],
                batches=self._data.validation(c),
                start=self._start,
                cut=self._cuts[c],
            )
            for c in clients
        ]
        return dict(zip(clients, self._trainer.evaluate(tasks), strict=True))

    def evaluate(self) -> EvalResult:
        """Measure the global adapter on the held-out part: all rows, the whole model, nothing sent."""
        task = EvalTask(recipe=self._recipe, adapter=self._adapter, batches=self._data.held_out)
        return self._trainer.evaluate([task])[0]

    def export(self, folder: Path) -> None:
        """Write the global adapter as a PEFT folder; no other state is needed from then on."""
        self._trainer.export(self._adapter, folder)
        self._trainer.release([self._adapter])

    def _aggregate(
        self,
        round: int,  # noqa: A002
        rule: str,
        clients: Sequence[int],
        results: Sequence[TrainResult],
        rows: Sequence[tuple[int, ...]] = (),
    ) -> None:
        """Make the next global adapter of what clients have trained, by their numbers of samples.

        `rows` are those of each client's blocks that count, where they are not those that it has trained.
        """
        weights = np.array([self._data.num_samples[client] for client in clients], dtype=np.float64)
        self._start = self._adapter if rule in LEAVE_DELTA else None
        self._adapter = self._trainer.aggregate(
            AggregateTask(
                recipe=self._recipe,
                rule=rule,
                base=self._adapter,
                updates=tuple(result.key for result in results),
                weights=tuple((weights / weights.sum()).tolist()),
                restart_seed=self._restart_seed(round),
                rows=tuple(rows),
            )
        )

    def _settle(self, plan: ClientPlan, task: TrainTask, result: TrainResult) -> None:
        """Note what a client goes on with."""
        self._trained[plan.client], self._cuts[plan.client] = result.key, plan.cut
        self._num_steps[plan.client] = task.first_step + len(task.batches)

    def _release(self, others: Sequence[str] = ()) -> None:
        """Let go of every state but those that later rounds start from, and `others`."""
        starts = [] if self._start is None else [self._start]
        self._trainer.release([self._adapter, *starts, *self._trained.values(), *others])

    def _restart_seed(self, round: int) -> int | None:  # noqa: A002
        return integer(self._recipe.adapter_seed, f"restart {round}") if self._aggregator in RESTART else None

    def _train_task(
        self,
        client: int,
        cut: int,
        round: int,  # noqa: A002
        *,
        num_steps: int | None = None,
        adapter: str | None = None,
    ) -> TrainTask:
        """Return a client's training in a round, of all its steps or the first `num_steps`.

        It starts from the latest global adapter, or from another one, by its key.
        """
        return TrainTask(
            recipe=self._recipe,
            adapter=adapter or self._adapter,
            moments=self._trained.get(client) if self._recipe.optimizer.state == "kept" else None,
            first_step=self._num_steps.get(client, 0),
            batches=self._data.training(client, round)[:num_steps],
            ranks=self._ranks(cut),
            cut=cut,
        )
