"""Put a base model on a device, ready for training."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from workloads.models import ModelError, ModelFiles

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # that a user may ask for
ALL_DTYPES = {**DTYPES, "float64": torch.float64}  # tests compare in it

_DROPOUT = re.compile(r"dropout|pdrop")

# What transformers raises where a file says what it cannot do: it has no error of its own for that.
_REFUSALS = (
    ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, SafetensorError,
    StrictDataclassError, TypeError, ValueError,
)  # fmt: skip


def pick_device(name: str) -> torch.device:
    """Return the device of a name: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:1`.

    Raises:
        ValueError: there is no such device here.
    """
    num_gpus = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if num_gpus else "cpu"
    allowed = ["cpu", *(["cuda"] if num_gpus else []), *(f"cuda:{i}" for i in range(num_gpus))]
    if name not in allowed:
        raise ValueError(f"device {name!r} is not on this machine; allowed: auto, {', '.join(allowed)}")
    return torch.device("cuda:0" if name == "cuda" else name)


def autocast(device: torch.device, dtype: str) -> AbstractContextManager[object]:
    """Return the context to compute in: on a GPU, adapters in float32 take part in bfloat16 products of the base."""
    if device.type == "cuda" and dtype == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def load_base(files: ModelFiles, *, device: torch.device, dtype: str, dropout: float | None) -> PreTrainedModel:
    """Return a base model in evaluation mode.

    Args:
        files: where it is; its weights are read from safetensors alone and no code of its own is run.
        device: where it goes.
        dtype: of its weights, a key of `ALL_DTYPES`.
        dropout: probability that replaces every dropout in it, and then no block is ever dropped; None leaves its own.

    Raises:
        ModelError: the weights are damaged, or not those of the model that config.json describes.
    """
    try:
        config = AutoConfig.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
        config._attn_implementation = None  # noqa: SLF001 -- the numerics id says which: not for a file to choose
        if dropout is not None:
            for name, value in config.to_dict().items():
                if isinstance(value, int | float) and _DROPOUT.search(name):
                    setattr(config, name, dropout)
            if hasattr(config, "layerdrop"):
                config.layerdrop = 0.0
        model, missing = _read(files, config, ALL_DTYPES[dtype])
    except _REFUSALS as error:
        raise ModelError(f"model {files.name!r}: {files.folder} cannot be loaded: {error}") from error
    if missing:
        raise ModelError(
            f"model {files.name!r}: {files.folder} lacks {len(missing)} of the weights that config.json speaks of, "
            f"{missing[0]} first"
        )
    return model.to(device)


def _read(files: ModelFiles, config: PretrainedConfig, dtype: torch.dtype) -> tuple[PreTrainedModel, list[str]]:
    """Return a model and which of its weights are not in the files: transformers makes them up and goes on."""
    with without_progress_bars():
        model, report = AutoModelForCausalLM.from_pretrained(
            files.folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    return model, sorted(map(str, report["missing_keys"]))


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing on the terminal."""
    shows_progress = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shows_progress:
            transformers.logging.enable_progress_bar()
