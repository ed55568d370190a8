"""A whole run of one client, through scenario, plan, clock and trainer, is an ordinary PEFT loop to the bit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import splitft
from simulator.learning.recipe import recipe_of
from simulator.scenario import Scenario
from simulator.setting import Setting, resolve
from splitft.work import numerics_of
from tests.small_run import SMALL, small
from tests.workloads.reference import ALPHA, PEFT_WARNING, RANK, PeftLoop, first_rows
from tests.workloads.small_models import single_thread
from workloads.lora import block_of
from workloads.tasks import InitialTask
from workloads.trainer import TorchTrainer

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

NUM_ROUNDS, CUT_RANK, LEARNING_RATE = 3, 2, 1e-2


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def scenario_of(cut: int, weight_decay: float) -> Scenario:
    workload = {
        **SMALL["workload"],
        "lora": {"rank": RANK, "cut_rank": CUT_RANK, "alpha": ALPHA},
        "optimizer": {"kind": "adamw", "learning_rate": LEARNING_RATE, "weight_decay": weight_decay},
    }
    return small(
        rounds=NUM_ROUNDS,
        workload=workload,
        fleet={"clients": [{"device": "rpi5-8gb", "network": "us-fixed-user-2025"}]},
        policy={"kind": "fixed", "cut": cut},
        execution={"memo": False, "executor": "sequential", "device": "cpu"},
    )


def first_adapter(setting: Setting) -> dict[str, torch.Tensor]:
    """Return what the run's seed makes the first adapter, before anything is trained."""
    numerics = numerics_of(setting)
    assert numerics is not None
    recipe = recipe_of(setting, numerics)
    trainer = TorchTrainer(recipe, setting.files, device="cpu")
    return trainer.state(trainer.initial(InitialTask(recipe=recipe)))


@pytest.mark.parametrize(("cut", "weight_decay"), [(1, 0.01), (4, 0.0), (7, 0.01)])
def test_one_client_learns_what_an_ordinary_peft_loop_learns(cut: int, weight_decay: float, tmp_path: Path) -> None:
    scenario = scenario_of(cut, weight_decay)
    setting = resolve(scenario)
    # Of 8 blocks, counted from 0, the last of the client and the first of the server have the reduced rank.
    ranks = [CUT_RANK if block in {cut - 1, cut} else RANK for block in range(8)]
    before = first_adapter(setting)
    targets = [linear.name for linear in setting.lora.targets]
    loop = PeftLoop(setting.files, before, ranks, targets, lr=LEARNING_RATE, weight_decay=weight_decay)
    losses = [loop.run(setting.text.training_batches(0, number)) for number in range(1, NUM_ROUNDS + 1)]

    run = splitft.run(scenario, tmp_path / "run")
    assert list(run.clients.train_loss) == [sum(of_round) / len(of_round) for of_round in losses]
    assert list(run.clients["cut"]) == [cut] * NUM_ROUNDS
    learned = load_file(run.folder / "adapter" / "adapter_model.safetensors")
    for key, expected in loop.adapter.items():
        rank = ranks[block_of(key)]
        assert torch.equal(first_rows(learned[key], key, rank), expected)
        assert not torch.equal(expected, first_rows(before[key], key, rank))  # something was learned
