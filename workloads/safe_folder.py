"""What must not be in a model's folder, because it would load bytes that its digest does not name, or run code.

A folder is plain data, but libraries follow what stands in it: an index may name pickles or files elsewhere, a
configuration may name kernels on the Hub, and an adapter beside a model takes the model's place. No torch here.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

_ADAPTER = "adapter_config.json"
_KERNELS = ("attn_implementation", "experts_implementation")


def problem_with(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return why a model's folder must not be used; None where nothing speaks against it.

    Args:
        folder: with config.json and safetensors weights.
        config: the content of that file.
    """
    return next(_problems(folder, config), None)


def index_files(folder: Path) -> tuple[Path, ...]:
    """Return the file that says which weights are in which file, where there is one."""
    return (folder / INDEX,) if (folder / INDEX).is_file() else ()


def _problems(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    if (folder / _ADAPTER).exists():
        yield (
            f"it holds an adapter ({_ADAPTER}), which transformers would put into a base model of the adapter's own "
            "choice; merge it into the model, or move it away"
        )
    if config.get("quantization_config") is not None:
        yield "its weights are quantised (quantization_config in config.json); take the model before that"
    for key in _KERNELS:
        if "/" in str(config.get(key, "")):
            yield f"{key} in config.json names code on the Hugging Face Hub ({config[key]!r}); remove it"
    known = {path.name for path in folder.glob("*.safetensors")}
    try:
        named = [*_named_by(config, "transformers_weights"), *_named_by_index(folder)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield f"{INDEX} is damaged: {error}"
        return
    if unknown := sorted({name for name in named if name not in known}):
        yield f"it takes weights from {unknown[0]!r}, which is none of its *.safetensors files"


def _named_by(config: Mapping[str, Any], key: str) -> list[str]:
    return [str(config[key])] if key in config else []


def _named_by_index(folder: Path) -> list[str]:
    if (folder / WEIGHTS).exists():
        return []  # then nobody looks at the index
    maps = [json.loads(index.read_bytes())["weight_map"] for index in index_files(folder)]
    return [str(name) for weight_map in maps for name in weight_map.values()]
