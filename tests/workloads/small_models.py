"""Small models of every family, and what PyTorch says about them. Imports torch only inside functions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workloads.blocks import Linear

if TYPE_CHECKING:
    from torch import Tensor, nn

Config = dict[str, Any]

VOCAB = 96

# Widths are all different, so that no term of a formula can stand in for another.
_LLAMA: Config = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 52, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
CONFIGS: Mapping[str, Config] = {
    "gpt2": {
        "model_type": "gpt2", "vocab_size": VOCAB, "n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 64,
        "n_inner": 52, "bos_token_id": 0, "eos_token_id": 0, "attn_pdrop": 0, "resid_pdrop": 0, "embd_pdrop": 0,
    },
    "opt": {
        "model_type": "opt", "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 4, "ffn_dim": 52,
        "num_attention_heads": 4, "max_position_embeddings": 64, "dropout": 0, "attention_dropout": 0,
    },
    "opt-350m": {
        "model_type": "opt", "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 4, "ffn_dim": 52,
        "num_attention_heads": 4, "max_position_embeddings": 64, "dropout": 0, "attention_dropout": 0,
        "word_embed_proj_dim": 12, "do_layer_norm_before": False,
    },
    "gpt_neo": {
        "model_type": "gpt_neo", "vocab_size": VOCAB, "hidden_size": 32, "num_layers": 4, "num_heads": 4,
        "intermediate_size": 52, "max_position_embeddings": 64, "attention_types": [[["global", "local"], 2]],
        "window_size": 16, "bos_token_id": 0, "eos_token_id": 0,
    },
    "gpt_neox": {
        "model_type": "gpt_neox", "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 4,
        "num_attention_heads": 4, "intermediate_size": 52, "max_position_embeddings": 64, "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "llama": {"model_type": "llama", **_LLAMA},
    "mistral": {"model_type": "mistral", **_LLAMA, "sliding_window": 16},
    "qwen2": {
        "model_type": "qwen2", **_LLAMA, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2,
    },
    "qwen3": {"model_type": "qwen3", **_LLAMA, "head_dim": 16},
    "phi3": {
        "model_type": "phi3", **_LLAMA, "original_max_position_embeddings": 64, "sliding_window": 16,
        "partial_rotary_factor": 0.75,
    },
    "phi3-mini": {
        "model_type": "phi3", **_LLAMA, "original_max_position_embeddings": 64, "sliding_window": 16,
        "num_key_value_heads": 4,
    },
    "gemma3_text": {
        "model_type": "gemma3_text", **_LLAMA, "head_dim": 16, "sliding_window": 16, "sliding_window_pattern": 2,
    },
}  # fmt: skip


def build(config: Config, *, attention: str | None = None, meta: bool = False) -> Any:
    """Return the transformers model of a config.json, on the meta device if only its shapes matter."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("meta" if meta else "cpu"):
        return AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config["model_type"], **values), attn_implementation=attention
        )


def blocks_of(model: Any) -> tuple[str, "nn.ModuleList"]:
    """Return path and list of the decoder blocks."""
    from torch import nn

    return next(
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers
    )


def add_adapters(model: Any, targets: Sequence[Linear], ranks: Sequence[int]) -> Any:
    """Put adapters of a rank for each block into a model, all else frozen, and return it."""
    from peft import LoraConfig, inject_adapter_in_model

    path, _ = blocks_of(model)
    pattern = {f"{path}.{j}.{linear.name}": rank for j, rank in enumerate(ranks) for linear in targets}
    config = LoraConfig(
        r=max(ranks),
        rank_pattern=pattern,
        target_modules=[linear.name for linear in targets],
        fan_in_fan_out=model.config.model_type == "gpt2",
    )
    return inject_adapter_in_model(config, model).train()


def set_base_dtype(model: Any, dtype: Any) -> None:
    """Convert the base model; adapters stay float32."""
    model.to(dtype)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


@contextmanager
def single_thread() -> Iterator[None]:
    """Keep torch from starting threads, which cost more than such small tensors do."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ReachedCutError(Exception):
    """Ends a forward pass at the cut."""


def run_client(model: Any, cut: int, batch_size: int, length_tokens: int) -> "Tensor":
    """Run embeddings and the first `cut` blocks; return the activations at the cut."""
    reached: list[Tensor] = []

    def stop(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        reached.append(args[0] if args else kwargs["hidden_states"])
        raise ReachedCutError

    with _before_block(model, cut, stop):
        try:
            _forward(model, batch_size, length_tokens)
        except ReachedCutError:
            return reached[0]
    raise AssertionError("the block at the cut never ran")


def run_server(
    model: Any, cut: int, batch_size: int, length_tokens: int, *, dtype: Any = None, started: Callable[[], None]
) -> "tuple[Tensor, Tensor]":
    """Run the blocks from `cut` on, norm and head on a received tensor; return that tensor and the logits.

    The blocks before the cut run too, without effect; `started` is called when they are done.
    """
    import torch

    received = torch.randn(batch_size, length_tokens, model.config.hidden_size, dtype=dtype, requires_grad=True)

    def inject(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        started()
        if args:
            return (received, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": received}

    with _before_block(model, cut, inject):
        return received, _forward(model, batch_size, length_tokens)


def _forward(model: Any, batch_size: int, length_tokens: int) -> "Tensor":
    import torch

    ids = torch.randint(2, VOCAB, (batch_size, length_tokens))
    logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


@contextmanager
def _before_block(model: Any, cut: int, hook: Callable[..., Any]) -> Iterator[None]:
    handle = blocks_of(model)[1][cut].register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class SavedTensors:
    """Adds up what autograd saves, each storage once; weights and constant buffers are not counted."""

    def __init__(self, model: Any) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        self._known = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self._saved: dict[int, Tensor] = {}

    def pack(self, tensor: "Tensor") -> "Tensor":
        """Note a tensor that autograd wants to keep; it stays alive, so that no address is used twice."""
        address = tensor.untyped_storage().data_ptr()
        if address not in self._known:
            self._saved.setdefault(address, tensor)
        return tensor

    def forget(self) -> None:
        """Start afresh."""
        self._saved = {}

    @property
    def num_bytes(self) -> int:
        """Return the bytes of all storages noted."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._saved.values())
