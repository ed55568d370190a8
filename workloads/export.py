"""Write an adapter as PEFT does, without PEFT: a run that only remembers its work exports it without torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from workloads.files import write_whole
from workloads.results import SavedState

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE_DELTA = "base_delta.safetensors"
PEFT_PREFIX = "base_model.model."  # how PEFT's files name the base model

# Families whose linear layers are transformers' Conv1D, which keeps its weight as [d_in, d_out].
TRANSPOSED_FAMILIES = frozenset({"gpt2"})


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """What PEFT has to know of an adapter to put it into a base model.

    Attributes:
        base_model: what the configuration calls the base model.
        revision: the Hub commit of the base model; None where it is not from the Hub.
        family: the base model's, as `workloads.shapes` names it.
        targets: names of the adapted modules.
        rank, alpha, dropout: of the adapter.
    """

    base_model: str
    revision: str | None
    family: str
    targets: Sequence[str]
    rank: int
    alpha: float
    dropout: float

    def to_peft(self) -> dict[str, Any]:
        """Return the content of adapter_config.json; what is left out has PEFT's defaults."""
        return {
            "base_model_name_or_path": self.base_model,
            "bias": "none",
            "fan_in_fan_out": self.family in TRANSPOSED_FAMILIES,
            "inference_mode": True,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "peft_type": "LORA",
            "r": self.rank,
            "revision": self.revision,
            "target_modules": sorted(self.targets),
            "task_type": "CAUSAL_LM",
        }


def write_adapter(settings: AdapterSettings, state: SavedState, folder: Path) -> None:
    """Write a state's adapter as a folder that `PeftModel.from_pretrained(base, folder)` loads; equal ones alike.

    Args:
        settings: of the adapter.
        state: with the adapter, under PEFT's names and at full rank, as its field `adapter`.
        folder: where adapter_config.json and adapter_model.safetensors go; made if need be. Where aggregation has left
            something to the base model, base_delta.safetensors too, which PEFT does not read: what is to be added to
            its weights, under their names.
    """
    text = json.dumps(settings.to_peft(), indent=2, sort_keys=True)
    write_whole(folder / ADAPTER_CONFIG, f"{text}\n".encode())
    write_whole(folder / ADAPTER_WEIGHTS, save(state.tensors("adapter"), {"format": "pt"}))
    delta = state.tensors("base_delta")
    if delta:
        scale = np.float32(settings.alpha / settings.rank)
        is_transposed = settings.family in TRANSPOSED_FAMILIES
        added = {
            f"{layer.removeprefix(PEFT_PREFIX)}.weight": np.ascontiguousarray(scale * (v.T if is_transposed else v))
            for layer, v in delta.items()
        }
        write_whole(folder / BASE_DELTA, save(added, {"format": "pt"}))
