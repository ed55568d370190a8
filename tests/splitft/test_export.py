"""`splitft export`: what comes out of a run, and what is refused."""

import json
import math
import shutil
import sys
from pathlib import Path

import pytest
import torch

import splitft
from devices.problems import InputError
from simulator.learning.recipe import EVALUATION_BATCH_SIZE
from simulator.setting import resolve
from splitft import cli
from splitft.exporting import export_run
from tests.small_run import SMALL, small
from workloads.models import SHIPPED_MODELS

pytestmark = pytest.mark.torch


SCENARIO = small(protocol={"aggregator": "fedex"}, execution={"memo": False})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return splitft.run(SCENARIO, tmp_path_factory.mktemp("runs") / "learned")


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run's folder, to spoil."""
    return Path(shutil.copytree(run.folder, tmp_path / "copy"))


def held_out_loss(folder):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total, num_tokens = 0.0, 0
    with torch.no_grad():
        for batch in resolve(SCENARIO).text.held_out_batches(EVALUATION_BATCH_SIZE):
            logits = model(input_ids=torch.from_numpy(batch.ids).long()).logits[:, :-1]
            labels = torch.from_numpy(batch.labels).long()[:, 1:].reshape(-1)
            total += torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]), labels, ignore_index=-100, reduction="sum"
            ).item()
            num_tokens += int((labels != -100).sum())
    return total / num_tokens


def test_a_merged_model_has_the_held_out_loss_of_the_run(run, tmp_path, capsys):
    export_run(str(run.folder), merge=True, out=tmp_path / "whole")
    assert "a whole model" in capsys.readouterr().out
    loss = held_out_loss(tmp_path / "whole")
    assert loss == pytest.approx(run.evals.iloc[-1].loss, abs=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"whole"}  # nothing temporary is left
    assert math.exp(loss) < run.evals.iloc[0].perplexity


def test_a_base_model_in_a_folder_is_found_from_another_one(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    shutil.copytree(SHIPPED_MODELS / "tiny", tmp_path / "here" / "mine")
    monkeypatch.chdir(tmp_path / "here")
    splitft.run(small(rounds=1, workload={**SMALL["workload"], "model": "mine"}), "run")
    monkeypatch.chdir(tmp_path / "there")
    export_run("../here/run", merge=True, out=Path("whole"))
    assert (tmp_path / "there" / "whole" / "model.safetensors").exists()


def test_an_adapter_is_copied_as_it_is(run, tmp_path, capsys):
    export_run(str(run.folder), merge=False, out=tmp_path / "mine")
    assert "but not base_delta.safetensors" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "base_delta.safetensors"}
    for name in names:
        assert (tmp_path / "mine" / name).read_bytes() == (run.folder / "adapter" / name).read_bytes()


def test_the_folder_is_named_after_the_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_run(str(run.folder), merge=False, out=None)
    assert (tmp_path / f"{run.folder.name}-adapter" / "adapter_config.json").exists()


def test_a_folder_that_is_there_is_left_alone(run, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match=r"out: .*there exists; an export never writes into a folder that is there"):
        export_run(str(run.folder), merge=True, out=tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


def test_without_a_delta_the_adapter_is_all_there_is(copy, tmp_path, capsys):
    (copy / "adapter" / "base_delta.safetensors").unlink()
    export_run(str(copy), merge=False, out=tmp_path / "mine")
    assert capsys.readouterr().out.endswith("an adapter; PeftModel.from_pretrained(base, folder) loads it\n")


def test_another_base_model_than_the_trained_one_is_refused(copy, tmp_path):
    meta = json.loads((copy / "run.json").read_text())
    meta["content"]["model"] = "0" * 64
    (copy / "run.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=r"model 'tiny' \(.*\) is not the one that the run trained"):
        export_run(str(copy), merge=True, out=tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"copy"}


def test_a_run_that_learned_nothing_has_nothing_to_export(copy, tmp_path):
    shutil.rmtree(copy / "adapter")  # as in a cost-only run
    with pytest.raises(InputError, match="has no adapter: nothing was learned"):
        export_run(str(copy), merge=False, out=tmp_path / "out")


def test_an_unknown_run_is_refused_at_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["splitft", "export", "nowhere", "--merge"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: nowhere: no such run folder")
