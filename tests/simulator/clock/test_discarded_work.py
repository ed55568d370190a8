"""Which work of a settled round counts: of clients that finished, and of no others."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from simulator.learning.tasks import LearningData, TaskLearning
from simulator.protocols.rounds import ClientLog, ClientPlan, RoundLog, Status
from tests.workloads.test_tasks import OPTIMIZER, RECIPE, batch
from workloads.tasks import AggregateTask, EvalResult, EvalTask, InitialTask, TrainResult, TrainTask

CONSTANT = dataclasses.replace(RECIPE, optimizer=dataclasses.replace(OPTIMIZER, schedule="constant", total_steps=None))


class ListingTrainer:
    """Lists what it is asked for."""

    def __init__(self) -> None:
        self.trained: list[TrainTask] = []
        self.aggregated: list[AggregateTask] = []

    def initial(self, task: InitialTask) -> str:
        return task.key

    def train(self, tasks: Sequence[TrainTask], *_: object) -> list[TrainResult]:
        self.trained += tasks
        return [TrainResult(key=task.key, losses=(1.0,), num_tokens=3) for task in tasks]

    def aggregate(self, task: AggregateTask) -> str:
        self.aggregated.append(task)
        return task.key

    def evaluate(self, tasks: Sequence[EvalTask]) -> list[EvalResult]:
        return [EvalResult(loss=1.0, token_accuracy=0.5, num_tokens=3) for _ in tasks]

    def release(self, live: Iterable[str]) -> None: ...


def learning_of(trainer: ListingTrainer) -> TaskLearning:
    data = LearningData(
        training=lambda client, number: (batch(100 * client + number),),
        validation=lambda client: (batch(client),),
        held_out=(batch(99),),
        num_samples=np.array([10, 20, 30]),
    )
    return TaskLearning(trainer, CONSTANT, data, lambda _cut: (16, 8), "segment")  # type: ignore[arg-type]


def settled(number: int, *statuses: Status) -> RoundLog:
    clients = tuple(
        ClientLog(
            plan=ClientPlan(client=client, cut=1, steps=()), start_s=0.0, end_s=1.0,
            seconds={}, num_bytes={}, num_steps=1, status=status,
        )
        for client, status in enumerate(statuses)
    )  # fmt: skip
    return RoundLog(round=number, start_s=0.0, end_s=1.0, clients=clients)


def test_only_clients_that_finished_are_trained_and_aggregated() -> None:
    trainer = ListingTrainer()
    results = learning_of(trainer).train(settled(1, "finished", "late", "finished"))
    assert list(results) == [0, 2]
    assert [task.batches[0].digest for task in trainer.trained] == [batch(1).digest, batch(201).digest]
    (task,) = trainer.aggregated
    assert task.weights == (0.25, 0.75)  # 10 and 30 samples; the 20 of the late client do not count


def test_a_client_whose_round_was_discarded_goes_on_with_the_moments_of_its_last_that_counted() -> None:
    trainer = ListingTrainer()
    learning = learning_of(trainer)
    first = learning.train(settled(1, "finished", "finished", "finished"))
    learning.train(settled(2, "finished", "dropped", "surplus"))
    learning.train(settled(3, "finished", "finished", "late"))
    third = trainer.trained[-2:]
    assert third[1].moments == first[1].key  # of round 1: in round 2 it dropped out
    assert [task.first_step for task in third] == [2, 1]


def test_a_round_that_nobody_finished_changes_nothing() -> None:
    trainer = ListingTrainer()
    learning = learning_of(trainer)
    assert learning.train(settled(1, "dropped", "late", "late")) == {}
    assert (trainer.trained, trainer.aggregated) == ([], [])
    learning.train(settled(2, "finished", "late", "late"))
    assert trainer.trained[0].adapter == InitialTask(recipe=CONSTANT).key  # the global adapter is still the first one
