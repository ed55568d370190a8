"""From what a task has made, in tensors, to what can be kept of it, and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
import torch
from torch import Tensor

from workloads.results import SavedState

T = TypeVar("T")


def save_state(state: Any) -> SavedState:
    """Return a dataclass of tensors by name, plain values and further such dataclasses as arrays and plain values.

    On a CPU the arrays share the tensors' memory, which nobody changes.
    """
    arrays: dict[str, np.ndarray] = {}
    return SavedState(arrays=arrays, fields=_save(state, "", arrays))


def load_state(kind: type[T], saved: SavedState, device: torch.device) -> T:
    """Return the dataclass that `save_state` was given, its tensors in their order on a device."""
    return _load(kind, saved.fields, "", saved.arrays, device)


def _save(state: Any, path: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(state):
        value, place = getattr(state, field.name), f"{path}{field.name}/"
        if dataclasses.is_dataclass(value):
            fields[field.name] = {"fields": _save(value, place, arrays)}
        elif isinstance(value, Mapping):
            arrays |= {f"{place}{name}": tensor.detach().cpu().numpy() for name, tensor in value.items()}
            fields[field.name] = {"tensors": list(value)}  # in order: sums over tensors depend on it
        else:
            fields[field.name] = {"value": value}
    return fields


def _load(
    kind: type[T], fields: Mapping[str, Any], path: str, arrays: Mapping[str, np.ndarray], device: torch.device
) -> T:
    hints, values = get_type_hints(kind), dict[str, Any]()
    for name, held in fields.items():
        place = f"{path}{name}/"
        if "fields" in held:
            inner = next(option for option in (hints[name], *get_args(hints[name])) if dataclasses.is_dataclass(option))
            values[name] = _load(inner, held["fields"], place, arrays, device)  # type: ignore[arg-type]
        elif "tensors" in held:
            values[name] = {key: _tensor(arrays[f"{place}{key}"], device) for key in held["tensors"]}
        else:
            value = held["value"]
            values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """Return a tensor with memory of its own, aligned as torch aligns: kernels may choose their code by alignment."""
    return torch.tensor(array).to(device)
