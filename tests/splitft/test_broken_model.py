"""A model that cannot be trained as it lies there: one message at the scenario's key, and no run folder."""

import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

import splitft
from devices.problems import InputError
from simulator.scenario import Scenario
from workloads.models import SHIPPED_MODELS

pytestmark = pytest.mark.torch


def drop_a_weight(weights: Path) -> None:
    held = load_file(weights)
    del held["model.norm.weight"]
    save_file(held, weights, {"format": "pt"})


def cut_off(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [drop_a_weight, cut_off])
def test_a_model_that_is_not_whole_is_told_at_its_key_and_leaves_no_folder(damage, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(SHIPPED_MODELS / "tiny", model)
    damage(model / "model.safetensors")
    overrides = [f"workload.model={model}", "rounds=1", "workload.local_steps=1", "execution.memo=false"]
    with pytest.raises(InputError) as error:
        splitft.run(Scenario.load("quickstart", overrides), tmp_path / "run")
    [problem] = error.value.problems
    assert problem.key == "workload.model"
    assert not (tmp_path / "run").exists()
