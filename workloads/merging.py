"""A base model with an adapter, and what aggregation left to the base model, added to its weights for good."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from workloads.export import ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE_DELTA, PEFT_PREFIX
from workloads.loading import load_base, without_progress_bars
from workloads.lora import b_of, is_a, layer_of
from workloads.models import ModelFiles

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


@torch.no_grad()
def write_merged(files: ModelFiles, adapter: Path, folder: Path) -> None:
    """Write a whole model as a Hugging Face folder, float32 in safetensors, that computes what base and adapter do.

    Args:
        files: the base model.
        adapter: a folder of `workloads.export.write_adapter`.
        folder: where to; must be there and empty.
    """
    model = load_base(files, device=torch.device("cpu"), dtype="float32", dropout=None)
    settings = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    values = load_file(adapter / ADAPTER_WEIGHTS)
    scale = settings["lora_alpha"] / settings["r"]
    for key in filter(is_a, values):
        layer = model.get_submodule(layer_of(key).removeprefix(PEFT_PREFIX))
        _add(layer, scale * (values[b_of(key)].double() @ values[key].double()))
    if (adapter / BASE_DELTA).exists():
        for name, delta in load_file(adapter / BASE_DELTA).items():
            model.get_parameter(name).add_(delta)
    with without_progress_bars():
        model.save_pretrained(folder)
    for name in _TOKENIZER_FILES:
        if (files.folder / name).exists():
            shutil.copy(files.folder / name, folder)


def _add(layer: nn.Module, product: Tensor) -> None:
    """Add B A, [d_out, d_in], to the weights of a layer."""
    weight = layer.get_parameter("weight")
    weight.add_((product.T if isinstance(layer, Conv1D) else product).to(weight.dtype))
