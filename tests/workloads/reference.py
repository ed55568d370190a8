"""Small random models as folders, and an ordinary PEFT training loop to compare with."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.workloads.small_models import CONFIGS, VOCAB, build
from workloads.batches import Batch
from workloads.models import SHIPPED_MODELS, ModelFiles, resolve_model
from workloads.shapes import ModelShape, lora_targets

BLOCKS, RANK, ALPHA = 4, 4, 6
# PEFT asks transformers for a property by a name that transformers has deprecated.
PEFT_WARNING = "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"

# What the families call their dropouts. A family ignores the names of the others.
_DROPOUTS = (
    "attn_pdrop", "resid_pdrop", "embd_pdrop", "dropout", "attention_dropout", "embed_dropout", "resid_dropout",
    "hidden_dropout",
)  # fmt: skip


def random_model(family: str, *, dropout: float = 0.0, **settings: Any) -> PreTrainedModel:
    """Return a random model with one probability for all dropouts and nothing else that is random."""
    torch.manual_seed(0)
    names = dict.fromkeys(_DROPOUTS, dropout)
    return build({**CONFIGS[family], **names, "layerdrop": 0.0, **settings}).eval()


def targets_of(family: str) -> tuple[str, ...]:
    """Return the linear modules of the attention."""
    return tuple(linear.name for linear in lora_targets(ModelShape.from_config(CONFIGS[family]), "attention"))


def save_model(family: str, folder: Path, **settings: Any) -> ModelFiles:
    """Write a random model, with the bundled tokenizer, as a Hugging Face folder."""
    random_model(family, **settings).save_pretrained(folder)
    shutil.copy(SHIPPED_MODELS / "tiny" / "tokenizer.json", folder)
    return resolve_model(str(folder))


def random_batch(seed: int, num_samples: int = 3, longest: int = 20) -> Batch:
    """Return a batch of samples of different lengths; the first has no padding."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, longest + 1, num_samples).astype(np.int32)
    lengths[0] = longest
    ids = rng.integers(2, VOCAB, (num_samples, longest)).astype(np.int32)
    labels = np.where(np.arange(longest) < lengths[:, None], ids, -100).astype(np.int32)
    return Batch(ids=ids, labels=labels, lengths=lengths)


class PeftLoop:
    """PEFT as anybody would use it: patterns for ranks, one optimizer over all, `model(...).loss.backward()`."""

    def __init__(
        self,
        files: ModelFiles,
        adapter: Mapping[str, Tensor],
        ranks: Sequence[int],
        targets: Sequence[str],
        **adamw: Any,
    ) -> None:
        base = AutoModelForCausalLM.from_pretrained(files.folder, dtype=torch.float32)
        modules = {key: key.removeprefix("base_model.model.").removesuffix(".lora_A.weight") for key in adapter}
        of_module = {name: ranks[_block(key)] for key, name in modules.items() if ".lora_A." in key}
        config = LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            target_modules=list(targets),
            rank_pattern=of_module,
            alpha_pattern={name: rank * ALPHA / RANK for name, rank in of_module.items()},  # one scale for all
            fan_in_fan_out=files.config["model_type"] == "gpt2",
            task_type="CAUSAL_LM",
        )
        self.model: PeftModel = get_peft_model(base, config).train()
        own = {key: first_rows(value, key, ranks[_block(key)]).contiguous() for key, value in adapter.items()}
        assert not set_peft_model_state_dict(self.model, own).unexpected_keys
        self._adamw = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], **adamw)

    def run(self, batches: Sequence[Batch]) -> tuple[float, ...]:
        """Train on the batches and return the losses."""
        losses = []
        for batch in batches:
            loss = whole_loss(self.model, batch)
            torch.autograd.backward(loss)
            self._adamw.step()
            self._adamw.zero_grad()
            losses.append(loss.item())
        return tuple(losses)

    @property
    def adapter(self) -> dict[str, Tensor]:
        """The trained rows under PEFT's names."""
        return {
            name.replace(".default.", "."): parameter.detach()
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }


def whole_loss(model: torch.nn.Module, batch: Batch) -> Tensor:
    """Return the loss that the whole model computes itself."""
    labels = torch.from_numpy(batch.labels).long()
    loss: Tensor = model(input_ids=torch.from_numpy(batch.ids), labels=labels, use_cache=False).loss
    return loss


def first_rows(value: Tensor, key: str, rank: int) -> Tensor:
    return value[:rank] if ".lora_A." in key else value[:, :rank]


def _block(key: str) -> int:
    return int(re.findall(r"\.(?:h|layers)\.(\d+)\.", key)[0])
