"""A client's last state is forgotten as soon as its next training has used it, so that no client is held twice."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from simulator.learning.remembering import RememberingTrainer
from simulator.learning.tasks import LearningData, TaskLearning
from simulator.protocols.rounds import ClientPlan
from tests.simulator.fake_worker import FakeWorker, write_values
from tests.simulator.learning.test_tasks import BLOCKS, batch
from tests.workloads.test_tasks import RECIPE
from workloads.run_results import RunResults

NUM_CLIENTS = 6


def three_rounds(trainer: RememberingTrainer, max_group_tokens: int | None) -> TaskLearning:
    data = LearningData(
        training=lambda client, number: (batch(100 * client + number),),
        validation=lambda client: (batch(client),),
        held_out=(batch(99),),
        num_samples=np.full(NUM_CLIENTS, 10),
    )
    learning = TaskLearning(
        trainer, RECIPE, data, lambda _cut: (16,) * BLOCKS, "segment", max_group_tokens=max_group_tokens
    )
    for number in (1, 2, 3):
        plans = [ClientPlan(client=client, cut=1, steps=()) for client in range(NUM_CLIENTS)]
        learning.train(SimpleNamespace(round=number, finished=[SimpleNamespace(plan=plan) for plan in plans]))  # type: ignore[arg-type]
        learning.validate(range(NUM_CLIENTS))
    return learning


@pytest.mark.parametrize("max_group_tokens", [None, 9])  # alone; three clients of three tokens together
def test_no_client_is_held_twice(max_group_tokens: int | None) -> None:
    worker = FakeWorker()
    three_rounds(RememberingTrainer([], lambda: worker, write_values), max_group_tokens)
    # The global adapter before and after, every client, and the one being trained, whose last state is just in use.
    assert worker.most_held <= 2 + NUM_CLIENTS + 1


def test_a_run_whose_results_are_remembered_goes_on_all_the_same(tmp_path: Path) -> None:
    workers = [FakeWorker(), FakeWorker()]
    for worker in workers:
        trainer = RememberingTrainer([RunResults(tmp_path)], lambda worker=worker: worker, write_values)
        three_rounds(trainer, 9)
        trainer.close()
    assert len(workers[0].done) > 0
    assert workers[1].done == []
