"""LoRA through PEFT, at one rank for the whole model or at a rank for each block.

An adapter is a plain mapping from PEFT's parameter names to float32 tensors at the full rank R: A is [R, d_in] and B
[d_out, R]. A client that trains a block at rank r works on the first r rows of A and columns of B, both called *rows*
here. They are put in place of the layers' own weights, so a change of rank injects nothing anew, and the scale stays
alpha / R for every row.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

Adapter = dict[str, Tensor]

_PEFT_PREFIX = "base_model.model."  # how PEFT's files name the base model
_SLOT = "default"  # PEFT's name for the one adapter in a layer


class TargetError(ValueError):
    """The modules to adapt are not in the model, or not in every block."""


class LoraModel:
    """A base model with LoRA layers in its blocks, whose weights can be put in and taken out.

    Attributes:
        shapes: for each parameter of the adapter, its shape at full rank; in the model's order.

    Args:
        model: the base model; changed in place, its own weights frozen.
        targets: names of the linear modules to adapt, as PEFT takes them.
        rank: R.
        alpha: the scale is alpha / R.
        dropout: probability of dropout before A.

    Raises:
        TargetError: a target is not in the model, or a block has none.
    """

    def __init__(
        self, model: PreTrainedModel, *, targets: Sequence[str], rank: int, alpha: float, dropout: float
    ) -> None:
        self._config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=sorted(targets),
            task_type="CAUSAL_LM",
            fan_in_fan_out=any(_is_target(name, targets) for name, m in model.named_modules() if isinstance(m, Conv1D)),
        )
        self._device = model.device
        missing = [t for t in targets if not any(_is_target(name, [t]) for name, _ in model.named_modules())]
        if missing:
            raise TargetError(f"{type(model).__name__} has no modules named {', '.join(map(repr, missing))} to adapt")
        inject_adapter_in_model(self._config, model, adapter_name=_SLOT, low_cpu_mem_usage=True)
        self._slots: dict[str, nn.Module] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name, layer in model.named_modules():
            if isinstance(layer, LoraLayer):
                for kind, holders in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B)):
                    key = f"{_PEFT_PREFIX}{name}.{kind}.weight"
                    self._slots[key] = holders[_SLOT]
                    self.shapes[key] = tuple(holders[_SLOT].weight.shape)
        adapted = {block_of(key) for key in self.shapes}
        if adapted != set(range(model.config.num_hidden_layers)):
            raise TargetError(f"every block needs a module to adapt; {sorted(targets)} are in blocks {sorted(adapted)}")

    def initial(self, seed: int) -> Adapter:
        """Return a new adapter: A uniform as in PEFT (Kaiming with a = sqrt 5: within ±1/sqrt(d_in)), B zero.

        Each A depends on the seed and its own name alone.
        """
        adapter = {}
        for key, shape in self.shapes.items():
            values = torch.zeros(shape)
            if _rank_axis(key) == 0:
                digest = hashlib.sha256(f"{seed} {key}".encode()).digest()
                draws = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
                nn.init.kaiming_uniform_(values, a=math.sqrt(5), generator=draws)
            adapter[key] = values.to(self._device)
        return adapter

    def put(self, adapter: Mapping[str, Tensor], ranks: Sequence[int] | None = None) -> dict[str, nn.Parameter]:
        """Let the model work with copies of an adapter's rows; return them as the parameters to train.

        Args:
            adapter: at full rank.
            ranks: rows to use in each block; None for all.
        """
        parameters = {}
        for key, slot in self._slots.items():
            values = adapter[key] if ranks is None else rows(adapter[key], key, ranks[block_of(key)])
            parameters[key] = slot.weight = nn.Parameter(values.clone(memory_format=torch.contiguous_format))
        return parameters

    def export(self, adapter: Mapping[str, Tensor], folder: Path, base_model: str) -> None:
        """Write an adapter as PEFT does: `PeftModel.from_pretrained(base, folder)` loads it.

        Args:
            adapter: at full rank.
            folder: where adapter_config.json and adapter_model.safetensors go; made if need be.
            base_model: what the configuration calls the base model.
        """
        folder.mkdir(parents=True, exist_ok=True)
        settings = {**self._config.to_dict(), "base_model_name_or_path": base_model, "inference_mode": True}
        # PEFT keeps names in sets, whose order changes from process to process.
        text = json.dumps(settings, indent=2, sort_keys=True, default=sorted)
        (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
        values = {key: value.detach().cpu().contiguous() for key, value in adapter.items()}
        save_file(values, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def block_of(key: str) -> int:
    """Return the index of the block, from 0, that a parameter of an adapter belongs to."""
    match = re.search(r"\.(\d+)\.", key)  # the list of blocks is the outermost list in the model
    if match is None:
        raise TargetError(f"{key} is in no block; only modules in blocks can be adapted")
    return int(match[1])


def rows(values: Tensor, key: str, end: int, start: int = 0) -> Tensor:
    """Return the rows start..end of one parameter, as a view: rows of an A, columns of a B."""
    return values.narrow(_rank_axis(key), start, end - start)


def trained_rows(values: Tensor, key: str, like: Tensor) -> Tensor:
    """Return a copy of as many first rows of a parameter as `like` has."""
    return rows(values, key, like.shape[_rank_axis(key)]).clone(memory_format=torch.contiguous_format)


def with_rows(values: Tensor, key: str, trained: Tensor) -> Tensor:
    """Return a copy of a parameter at full rank whose first rows are those given."""
    merged = values.clone()
    rows(merged, key, trained.shape[_rank_axis(key)]).copy_(trained)
    return merged


def _rank_axis(key: str) -> int:
    return 0 if ".lora_A." in key else 1


def _is_target(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)
