"""Blocks that are computed again in the backward pass: the same numbers, and only their inputs are kept meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.workloads.reference import PEFT_WARNING, random_batch
from tests.workloads.small_models import SavedTensors, single_thread
from tests.workloads.test_fused import FAMILIES, Clients, assert_equal_states, batches_of, model_of, recipe_for
from workloads.engine import Engine
from workloads.executors import ExecutorName
from workloads.trainer import TorchTrainer

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def folders(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("executor", ["sequential", "fused"])
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_changes_no_bit(family: str, executor: ExecutorName, folders: Path) -> None:
    files = model_of(family, folders)
    plain, again = (Clients(files, family, executor, checkpointing=flag) for flag in (False, True))
    results = [clients.train(batches_of(0, 2, (0, 1, 2))) for clients in (plain, again)]  # cuts 1, 3 and 2
    assert results[0] == results[1]
    assert_equal_states(plain, again, 1e-30)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_a_block_only_its_input_is_kept_for_the_backward_pass(family: str, folders: Path) -> None:
    files = model_of(family, folders)
    engine = Engine(recipe_for(files, family, "sequential"), files, device="cpu", checkpointing=True)
    engine.lora.put(engine.lora.initial(0))
    engine.base.train()
    client, _ = engine.split.parts(3)
    saved = SavedTensors(engine.base)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        client.forward(torch.from_numpy(random_batch(0).ids))
    assert saved.num_bytes == 3 * (4 * 3 * 20 * 32)  # 3 blocks; float32, 3 samples, 20 tokens, width 32


def test_the_trainer_passes_it_on(folders: Path) -> None:
    files = model_of("llama", folders)
    trainer = TorchTrainer(
        recipe_for(files, "llama", "fused"), files, device="cpu", executor="fused", checkpointing=True
    )
    assert all(block.gradient_checkpointing for block in trainer._engine.base.model.layers)
