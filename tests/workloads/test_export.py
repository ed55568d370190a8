"""Adapters leave as PEFT's own files, written without PEFT."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D

from tests.workloads.reference import ALPHA, PEFT_WARNING, RANK, random_batch, random_model, targets_of
from tests.workloads.small_models import CONFIGS, single_thread
from workloads.engine import State
from workloads.export import BASE_DELTA, PEFT_PREFIX, TRANSPOSED_FAMILIES, AdapterSettings, write_adapter
from workloads.lora import LoraModel
from workloads.results import SavedState
from workloads.shapes import ModelShape
from workloads.states import save_state

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def settings_of(family: str) -> AdapterSettings:
    shape = ModelShape.from_config(CONFIGS[family])
    return AdapterSettings(
        base_model="org/base",
        revision="abc",
        family=shape.family,
        targets=targets_of(family),
        rank=RANK,
        alpha=ALPHA,
        dropout=0.0,
    )


def trained(family: str) -> tuple[Any, LoraModel, dict[str, torch.Tensor]]:
    """Return a model with an adapter whose every value differs from 0."""
    model = random_model(family)
    lora = LoraModel(model, targets=targets_of(family), rank=RANK, alpha=ALPHA, dropout=0.0)
    draws = torch.Generator().manual_seed(0)
    adapter = {key: 0.1 * torch.randn(shape, generator=draws) for key, shape in lora.shapes.items()}
    lora.put(adapter)
    return model, lora, adapter


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        computed: torch.Tensor = model(input_ids=torch.from_numpy(random_batch(seed=0).ids), use_cache=False).logits
    return computed


@pytest.mark.parametrize("family", CONFIGS)
def test_peft_loads_an_exported_adapter_and_computes_the_same(family: str, tmp_path: Path) -> None:
    model, _, adapter = trained(family)
    write_adapter(settings_of(family), save_state(State(adapter=adapter)), tmp_path)
    loaded = PeftModel.from_pretrained(random_model(family), tmp_path).eval()
    assert torch.equal(logits(loaded), logits(model))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize("family", CONFIGS)
def test_the_families_that_keep_their_weights_transposed_are_those_that_do(family: str) -> None:
    targets = targets_of(family)
    modules = [m for name, m in random_model(family).named_modules() if name.endswith(tuple(targets))]
    assert modules
    transposed = settings_of(family).family in TRANSPOSED_FAMILIES
    assert all(isinstance(module, Conv1D) == transposed for module in modules)


def test_the_configuration_is_what_peft_would_make_of_it(tmp_path: Path) -> None:
    _, _, adapter = trained("gpt2")
    write_adapter(settings_of("gpt2"), save_state(State(adapter=adapter)), tmp_path)
    theirs = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=sorted(targets_of("gpt2")),
        task_type="CAUSAL_LM",
        fan_in_fan_out=True,
        base_model_name_or_path="org/base",
        revision="abc",
        inference_mode=True,
    )
    assert PeftConfig.from_pretrained(tmp_path).to_dict() == theirs.to_dict()
    targets = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets_of("gpt2"))  # PEFT keeps them in a set, whose order changes by process


def test_the_same_adapter_gives_the_same_bytes_after_it_was_kept(tmp_path: Path) -> None:
    _, _, adapter = trained("llama")
    state = save_state(State(adapter=adapter))
    for name, version in (("now", state), ("kept", SavedState.from_bytes(state.to_bytes()))):
        write_adapter(settings_of("llama"), version, tmp_path / name)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "now" / file).read_bytes() == (tmp_path / "kept" / file).read_bytes()


@pytest.mark.parametrize("family", ["gpt2", "llama"])  # one that keeps its weights transposed, one that does not
def test_what_was_left_to_the_base_model_is_written_as_what_to_add_to_its_weights(family: str, tmp_path: Path) -> None:
    model, lora, adapter = trained(family)
    draws = torch.Generator().manual_seed(1)
    before = adapted_weights(model)
    shapes = {
        f"{PEFT_PREFIX}{name}": weight.T.shape if family == "gpt2" else weight.shape for name, weight in before.items()
    }
    delta = {name: 0.1 * torch.randn(shape, generator=draws) for name, shape in shapes.items()}
    lora.shift_base(delta)
    write_adapter(settings_of(family), save_state(State(adapter=adapter, base_delta=delta)), tmp_path)
    written = load_file(tmp_path / BASE_DELTA)
    assert written.keys() == {f"{name}.weight" for name in before}
    for name, weight in adapted_weights(model).items():
        torch.testing.assert_close(weight, before[name] + written[f"{name}.weight"], rtol=1e-6, atol=1e-7)


def adapted_weights(model: Any) -> dict[str, torch.Tensor]:
    layers = {name: module.base_layer for name, module in model.named_modules() if hasattr(module, "base_layer")}
    return {name: layer.weight.detach().clone() for name, layer in layers.items()}
