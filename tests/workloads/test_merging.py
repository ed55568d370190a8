"""Whole models written from base, adapter and delta, against the model that was trained."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.workloads.cohort import Cohort, Job
from tests.workloads.reference import ALPHA, PEFT_WARNING, RANK, random_batch, save_model, targets_of
from tests.workloads.small_models import single_thread
from workloads.export import AdapterSettings, write_adapter
from workloads.merging import write_merged
from workloads.models import ModelFiles

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]

IDS = torch.from_numpy(random_batch(7).ids)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def trained(files: ModelFiles, family: str, rule: str) -> Cohort:
    cohort = Cohort(files, family, rule=rule, learning_rate=0.1, state="reset")
    cohort.run_round({client: Job(batches=[random_batch(client)], cut=1 + client) for client in range(2)})
    return cohort


def write(cohort: Cohort, files: ModelFiles, family: str, folder: Path) -> None:
    settings = AdapterSettings(
        base_model=files.name,
        revision=None,
        family=family,
        targets=targets_of(family),
        rank=RANK,
        alpha=ALPHA,
        dropout=0.0,
    )
    write_adapter(settings, cohort.trainer.get(cohort.adapter), folder)


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        computed: Tensor = model(input_ids=IDS, use_cache=False).logits
    return computed


def logits_of(cohort: Cohort) -> Tensor:
    cohort.loss([random_batch(7)])  # puts the latest adapter and delta in
    return logits(cohort.trainer._engine.base)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
@pytest.mark.parametrize("rule", ["segment", "fedex", "flora"])
def test_a_merged_model_computes_what_base_adapter_and_delta_do(family: str, rule: str, tmp_path: Path) -> None:
    files = save_model(family, tmp_path / "base")
    cohort = trained(files, family, rule)
    write(cohort, files, family, tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    write_merged(files, tmp_path / "adapter", tmp_path / "merged")
    expected = logits_of(cohort)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    base = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32).eval()
    torch.testing.assert_close(logits(merged), expected, rtol=0, atol=1e-5)
    assert (logits(base) - expected).abs().max() > 1e-3
    for name in ("config.json", "tokenizer.json"):
        assert (tmp_path / "merged" / name).exists()
    dropouts = [
        {key: value for key, value in json.loads((folder / "config.json").read_text()).items() if "drop" in key}
        for folder in (files.folder, tmp_path / "merged")
    ]
    assert dropouts[0] == dropouts[1]
    assert not list((tmp_path / "merged").glob("*.bin"))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_adapter_in_peft_and_delta_added_by_name_are_the_trained_model(family: str, tmp_path: Path) -> None:
    files = save_model(family, tmp_path / "base")
    cohort = trained(files, family, "fedex")
    write(cohort, files, family, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32)
    with torch.no_grad():
        for name, added in load_file(tmp_path / "adapter" / "base_delta.safetensors").items():
            base.get_parameter(name).add_(added)
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(loaded), logits_of(cohort), rtol=0, atol=1e-5)


def test_rules_that_leave_the_base_model_alone_write_no_delta(tmp_path: Path) -> None:
    files = save_model("llama", tmp_path / "base")
    write(trained(files, "llama", "fedavg"), files, "llama", tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
