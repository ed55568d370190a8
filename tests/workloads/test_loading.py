"""A base model comes with the dropout asked for and nothing else that is random."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.workloads.reference import random_batch, save_model
from tests.workloads.small_models import CONFIGS, single_thread
from workloads.loading import load_base, pick_device
from workloads.models import ModelError, ModelFiles, resolve_model

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


def two_passes(family: str, folder: Path, dropout: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of two forward passes in training mode of a model saved with dropouts of its own."""
    files = save_model(family, folder, dropout=0.1, layerdrop=0.5)
    model = load_base(files, device=CPU, dtype="float32", dropout=dropout).train()
    ids = torch.from_numpy(random_batch(0).ids)
    with torch.no_grad():
        return model(input_ids=ids).logits, model(input_ids=ids).logits


@pytest.mark.parametrize("family", CONFIGS)
def test_without_dropout_nothing_is_random(family: str, tmp_path: Path) -> None:
    assert torch.equal(*two_passes(family, tmp_path, dropout=0.0))


@pytest.mark.parametrize("family", CONFIGS)
def test_the_dropout_asked_for_is_in_the_base_model(family: str, tmp_path: Path) -> None:
    assert not torch.equal(*two_passes(family, tmp_path, dropout=0.5))


def test_a_model_is_loaded_for_evaluation_in_the_dtype_asked_for(tmp_path: Path) -> None:
    files = save_model("llama", tmp_path)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        model = load_base(files, device=CPU, dtype=name, dropout=0.0)
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        assert not model.training


def test_loading_shows_no_progress_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_base(save_model("llama", tmp_path), device=CPU, dtype="float32", dropout=0.0)
    assert "Loading weights" not in capfd.readouterr().err


def with_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> ModelFiles:
    """Return a model's folder whose weights were changed after it was made."""
    weights = load_file(save_model("llama", folder).weight_files[0])
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return resolve_model(str(folder))


def test_weights_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    files = with_weights(tmp_path, lambda weights: weights.pop(name))
    with pytest.raises(ModelError, match=rf"lacks 1 of the weights that config.json speaks of, {name} first"):
        load_base(files, device=CPU, dtype="float32", dropout=0.0)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    files = with_weights(tmp_path, lambda weights: weights.update({name: weights[name][:, :-1].contiguous()}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_base(files, device=CPU, dtype="float32", dropout=0.0)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    [weights] = save_model("llama", tmp_path).weight_files
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"cannot be loaded: .*file not fully covered"):
        load_base(resolve_model(str(tmp_path)), device=CPU, dtype="float32", dropout=0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 5},
        {"dtype": "evil"},
        {"rope_parameters": {"rope_type": "zzz"}},
        {"initializer_range": {}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_config_that_transformers_cannot_use_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    save_model("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_base(resolve_model(str(tmp_path)), device=CPU, dtype="float32", dropout=0.0)


def test_the_kind_of_attention_is_not_for_the_file_to_choose(tmp_path: Path) -> None:
    # The numerics id says sdpa.
    save_model("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**config, "attn_implementation": "eager"}))
    model = load_base(resolve_model(str(tmp_path)), device=CPU, dtype="float32", dropout=0.0)
    assert model.config._attn_implementation == "sdpa"


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert pick_device("auto") == pick_device("cpu") == CPU
    with pytest.raises(ValueError, match=r"device 'cuda' is not on this machine; allowed: auto, cpu$"):
        pick_device("cuda")


def test_auto_is_the_first_gpu_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda:0")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match=r"device 'cuda:2' .*; allowed: auto, cpu, cuda, cuda:0, cuda:1"):
        pick_device("cuda:2")
