"""Asynchronous training, against PEFT loops that follow the log: starts of different age, and weights by staleness."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from simulator.learning.buffered import BufferedLearning
from simulator.learning.tasks import LearningData
from simulator.protocols.rounds import ClientLog, ClientPlan, PaddedBatch, RoundLog
from tests.workloads.reference import BLOCKS, PEFT_WARNING, RANK, PeftLoop, random_batch, save_model
from tests.workloads.small_models import single_thread
from tests.workloads.test_trainer import LEARNING_RATE, recipe_for
from workloads.aggregators import BUFFERED
from workloads.batches import Batch
from workloads.buffered import buffered
from workloads.models import ModelFiles
from workloads.trainer import TorchTrainer

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)

SIZE = PaddedBatch(num_samples=3, length_tokens=20, num_real_tokens=40)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return save_model("llama", tmp_path_factory.mktemp("llama"))


def batches(client: int, turn: int) -> tuple[Batch, ...]:
    return tuple(random_batch(100 * client + 10 * turn + step) for step in range(2))


def settled(version: int, turns: Sequence[tuple[int, int, int]], in_use: Sequence[int]) -> RoundLog:
    """Return the log of a round in which (client, turn, version) came in, in this order."""
    clients = tuple(
        ClientLog(
            plan=ClientPlan(client=client, cut=2, steps=(SIZE, SIZE), turn=turn),
            start_s=0.0,
            end_s=1.0,
            seconds={},
            num_bytes={},
            num_steps=2,
            status="finished",
            staleness=version - start,
        )
        for client, turn, start in turns
    )
    return RoundLog(
        round=version + 1, start_s=0.0, end_s=1.0, clients=clients, version=version, versions_in_use=tuple(in_use)
    )


LOGS = (
    settled(0, [(0, 1, 0), (1, 1, 0), (0, 2, 0)], in_use=[0]),  # client 0 twice; client 2 is still at work
    settled(1, [(2, 1, 0), (1, 2, 1)], in_use=[1]),
    settled(2, [(0, 3, 1), (2, 2, 2), (1, 3, 2)], in_use=[]),
)


def test_fedbuff_is_a_replay_of_its_log_with_the_staleness_in_it(llama: ModelFiles) -> None:
    trainer = TorchTrainer(recipe_for(llama), llama, device="cpu")
    data = LearningData(
        training=batches, validation=lambda _client: (), held_out=(), num_samples=np.array([10, 20, 30])
    )
    learning = BufferedLearning(
        trainer,
        trainer._recipe,
        data,
        lambda _cut: (RANK,) * BLOCKS,
        BUFFERED,  # type: ignore[arg-type]
    )
    globals_ = [dict(trainer.state(learning._adapter))]
    loops = [
        PeftLoop(llama, globals_[0], (RANK,) * BLOCKS, trainer._recipe.targets, lr=LEARNING_RATE, weight_decay=0.0)
        for _ in range(3)
    ]
    for log in LOGS:
        trained = learning.train(log)
        total = {key: values.double() for key, values in globals_[-1].items()}
        losses: dict[int, tuple[float, ...]] = {}
        for c in log.clients:
            assert c.staleness is not None
            client, start = c.plan.client, globals_[log.version - c.staleness]
            for key, parameter in loops[client].adapter.items():
                parameter.copy_(start[key])  # the optimizer goes on: a client keeps its moments
            assert c.plan.turn is not None
            losses[client] = (*losses.get(client, ()), *loops[client].run(batches(client, c.plan.turn)))
            weight = 1 / math.sqrt(1 + c.staleness) / len(log.clients)
            for key, values in loops[client].adapter.items():
                total[key] = total[key] + weight * (values.double() - start[key].double())
        assert {client: result.losses for client, result in trained.items()} == losses
        globals_.append({key: values.to(torch.float32) for key, values in total.items()})
        now = trainer.state(learning._adapter)
        for key, expected in globals_[-1].items():
            torch.testing.assert_close(now[key], expected, rtol=1e-6, atol=1e-9)  # another order of the sum


def test_only_adapters_that_somebody_is_at_work_on_are_kept(llama: ModelFiles) -> None:
    trainer = TorchTrainer(recipe_for(llama, state="reset"), llama, device="cpu")
    data = LearningData(training=batches, validation=lambda _client: (), held_out=(), num_samples=np.ones(3))
    learning = BufferedLearning(
        trainer,
        trainer._recipe,
        data,
        lambda _cut: (RANK,) * BLOCKS,
        BUFFERED,  # type: ignore[arg-type]
    )
    kept = []
    for log in LOGS:
        learning.train(log)
        kept.append(sorted(learning._versions))
    assert kept == [[0, 1], [1, 2], [3]]
    assert set(learning._versions.values()) <= set(trainer._states)


def test_fresh_results_give_the_plain_mean_and_stale_ones_move_it_less() -> None:
    one, two = {"a": torch.tensor([1.0])}, {"a": torch.tensor([3.0])}
    zero: dict[str, Tensor] = {"a": torch.tensor([0.0])}
    assert buffered(zero, [zero, zero], [one, two], [1.0, 1.0])["a"].item() == 2.0
    # 0 + (1 - 0) / 2 + 0.5 (3 - 1) / 2 = 1
    assert buffered(zero, [zero, one], [one, two], [1.0, 0.5])["a"].item() == 1.0
