"""Rounds in which clients learn apart and are averaged, against PEFT loops that are: FedAvg on PEFT adapters."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.workloads.reference import BLOCKS, PEFT_WARNING, RANK, PeftLoop, random_batch, save_model
from tests.workloads.small_models import single_thread
from tests.workloads.test_trainer import LEARNING_RATE, recipe_for
from workloads.grouping import grouped
from workloads.models import ModelFiles
from workloads.numerics import numerics_id
from workloads.tasks import AggregateTask, InitialTask, TrainTask
from workloads.trainer import TorchTrainer

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)

SHARES = (0.75, 0.25)
FULL = (RANK,) * BLOCKS


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return save_model("llama", tmp_path_factory.mktemp("llama"))


def batches(client: int, number: int) -> tuple:
    return tuple(random_batch(100 * client + 10 * number + step) for step in range(2))


def task(trainer: TorchTrainer, adapter: str, client: int, number: int, cut: int, **changes: object) -> TrainTask:
    fields = {
        "recipe": trainer._recipe,
        "adapter": adapter,
        "moments": None,
        "first_step": 2 * (number - 1),
        "batches": batches(client, number),
        "ranks": FULL,
        "cut": cut,
    }
    return TrainTask(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [pytest.param(2, id="sfl-v1"), pytest.param(BLOCKS, id="fed-lora")])
def test_clients_are_trained_apart_and_averaged(llama: ModelFiles, cut: int) -> None:
    trainer = TorchTrainer(recipe_for(llama), llama, device="cpu")
    adapter = trainer.initial(InitialTask(recipe=trainer._recipe))
    loops = [PeftLoop(llama, trainer.state(adapter), FULL, trainer._recipe.targets, lr=LEARNING_RATE, weight_decay=0.0)
             for _ in SHARES]  # fmt: skip
    trained: list[str | None] = [None, None]
    for number in (1, 2):
        results = trainer.train([task(trainer, adapter, k, number, cut, moments=trained[k]) for k in (0, 1)])
        trained = [result.key for result in results]
        update = AggregateTask(
            recipe=trainer._recipe, rule="fedavg", base=adapter, updates=tuple(r.key for r in results), weights=SHARES
        )
        adapter = trainer.aggregate(update)
        assert [loop.run(batches(k, number)) for k, loop in enumerate(loops)] == [r.losses for r in results]
        mean = {key: averaged([loop.adapter[key] for loop in loops]) for key in trainer.state(adapter)}
        assert all(torch.equal(trainer.state(adapter)[key], values) for key, values in mean.items())
        for loop in loops:  # the next round starts from the mean; each optimizer goes on
            for key, parameter in loop.adapter.items():
                parameter.copy_(mean[key])


def averaged(values: list[Tensor]) -> Tensor:
    """Return the mean by shares, in double precision as the rules take it."""
    total = sum(share * value.double() for share, value in zip(SHARES, values, strict=True))
    assert isinstance(total, Tensor)
    return total.to(values[0].dtype)


def test_together_clients_with_all_blocks_learn_what_they_learn_alone(llama: ModelFiles) -> None:
    # sums of kernels differ in their last bits with the size of a batch
    alone = TorchTrainer(recipe_for(llama, max_grad_norm=0.5), llama, device="cpu")
    recipe = recipe_for(llama, max_grad_norm=0.5, numerics=numerics_id("cpu", "float32", "fused"))
    fused = TorchTrainer(recipe, llama, device="cpu", executor="fused")
    losses = []
    for trainer in (alone, fused):
        adapter = trainer.initial(InitialTask(recipe=trainer._recipe))
        tasks = [task(trainer, adapter, client, 1, BLOCKS) for client in (0, 1)]
        if trainer is fused:
            tasks = grouped(tasks, 10_000)
            assert tasks[0].group is not None
        losses.append([result.losses for result in trainer.train(tasks)])
    assert torch.allclose(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-5)


def test_where_the_whole_is_clipped_the_key_says_that_nothing_is_cut(llama: ModelFiles) -> None:
    for max_grad_norm, is_different in ((None, False), (0.5, True)):
        trainer = TorchTrainer(recipe_for(llama, max_grad_norm=max_grad_norm), llama, device="cpu")
        adapter = trainer.initial(InitialTask(recipe=trainer._recipe))
        cut, whole = (task(trainer, adapter, 0, 1, blocks) for blocks in (2, BLOCKS))
        assert (cut.key != whole.key) == is_different
