"""The shape of a decoder language model: all that costs depend on, read from its config.json alone.

No weights, no torch. `splitft` prices a model that it has never loaded.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from workloads.blocks import ATTENTION_ROLES, MLP_ROLES, BlockShape, Linear
from workloads.config_json import DEFAULTS, Config, ConfigError
from workloads.families import FAMILIES

_TARGET_WORDS = {
    "attention": ATTENTION_ROLES,
    "mlp": MLP_ROLES,
    "all-linear": ATTENTION_ROLES | MLP_ROLES,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """A decoder model: embeddings, blocks that are all alike but for their attention window, final norm, LM head.

    Attributes:
        family: `model_type` of its config.json.
        num_blocks: L.
        hidden_size: d, the width of the residual stream and of what is sent at the cut.
        vocab_size: V.
        max_positions: longest sequence.
        has_tied_embeddings: whether the LM head is the transposed token embedding.
        block: one decoder block.
        attention_windows: per block, how many tokens back it looks, itself included; None for all.
        embedding_width: of the token embedding; where it is not d (OPT-350M), projections lead to d and back.
        num_position_rows: of the learned position embedding; 0 for rotary positions.
        num_final_norm_parameters: of the norm after the last block; None where there is none (OPT-350M).
    """

    family: str
    num_blocks: int
    hidden_size: int
    vocab_size: int
    max_positions: int
    has_tied_embeddings: bool
    block: BlockShape
    attention_windows: tuple[int | None, ...]
    embedding_width: int
    num_position_rows: int
    num_final_norm_parameters: int | None

    @classmethod
    def from_config(cls, config: Mapping[str, object] | Path) -> Self:
        """Return the shape that a config.json describes.

        Missing keys have the defaults of transformers. Of a multimodal Gemma 3 the text part is taken.

        Args:
            config: the parsed file, or the path of the file or of the model's folder.

        Raises:
            ConfigError: an unsupported family, or a value that makes no sense; the message names file and key.
        """
        if isinstance(config, Path):
            path = config / "config.json" if config.is_dir() else config
            try:
                return cls.from_config(read_config(path))
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from None
        if config.get("model_type") == "gemma3":
            text = config.get("text_config")
            return cls.from_config({**(text if isinstance(text, Mapping) else {}), "model_type": "gemma3_text"})
        family = config.get("model_type")
        if not isinstance(family, str) or family not in FAMILIES:
            supported = ", ".join([*FAMILIES, "gemma3"])
            raise ConfigError(
                f"model_type: {family!r} is not supported; supported: {supported}{_hint(family, FAMILIES)}"
            )
        return cls(**FAMILIES[family](Config(config, DEFAULTS[family])))

    @property
    def num_embedding_parameters(self) -> int:
        """Return what lies before the first block: token and position embeddings, projection to d."""
        return (
            self.vocab_size * self.embedding_width
            + self.num_position_rows * self.hidden_size
            + self.num_projection_weights
        )

    @property
    def num_head_parameters(self) -> int:
        """Return what lies after the last block: final norm, projection from d, LM head (also where it is tied)."""
        return (self.num_final_norm_parameters or 0) + self.num_projection_weights + self.num_head_weights

    @property
    def num_head_weights(self) -> int:
        """Return the weights of the LM head."""
        return self.vocab_size * self.embedding_width

    @property
    def num_projection_weights(self) -> int:
        """Return the weights of the projection between embedding width and d; 0 where they are equal."""
        return 0 if self.embedding_width == self.hidden_size else self.embedding_width * self.hidden_size

    @property
    def num_parameters(self) -> int:
        """Return all parameters, a tied matrix counted once: what transformers' `num_parameters()` says."""
        tied = self.num_head_weights if self.has_tied_embeddings else 0
        blocks = self.num_blocks * self.block.num_parameters
        return self.num_embedding_parameters + blocks + self.num_head_parameters - tied


def lora_targets(shape: ModelShape, targets: str | Sequence[str]) -> tuple[Linear, ...]:
    """Return the linears of a block that get an adapter, in the order of execution.

    Their names are paths inside a block, such as `attn.c_proj`. Give these to PEFT as `target_modules`: a module
    matches an entry that it equals or ends with after a dot, so `attn.c_proj` spares GPT-2's `mlp.c_proj`.

    Args:
        shape: the model.
        targets: `attention` (q, k, v and the output projection), `mlp`, `all-linear`, or a list of module names, each
            matched as PEFT matches it: `c_proj` means both of GPT-2's.

    Raises:
        ValueError: a word or name that is unknown for this family; the message says what is allowed.
    """
    linears = shape.block.linears
    names = [linear.name for linear in linears]
    if isinstance(targets, str):
        if targets not in _TARGET_WORDS:
            raise ValueError(
                f"lora targets: unknown word {targets!r}; allowed: {', '.join(_TARGET_WORDS)}, or a list of module "
                f"names of {shape.family}: {', '.join(names)}{_hint(targets, _TARGET_WORDS)}"
            )
        return tuple(linear for linear in linears if linear.role in _TARGET_WORDS[targets])
    if not targets:
        raise ValueError("lora targets: the list of module names is empty")
    for target in targets:
        if not any(_matches(name, target) for name in names):
            known = dict.fromkeys([*names, *(name.rpartition(".")[2] for name in names)])
            raise ValueError(
                f"lora targets: a block of {shape.family} has no module {target!r}; "
                f"it has {', '.join(names)}{_hint(target, known)}"
            )
    return tuple(linear for linear in linears if any(_matches(linear.name, target) for target in targets))


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _hint(word: object, allowed: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(str(word), allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def read_config(path: Path) -> Mapping[str, object]:
    """Return the content of a config.json; a `ConfigError` does not repeat the path."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise ConfigError("expected a mapping at the top level")
    return config
