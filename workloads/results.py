"""What is kept of a finished task: a small record in JSON and, where it made a state, that state in safetensors.

Both carry a checksum, so that nothing damaged is ever taken for a result, and neither can run code when it is read.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from workloads.interleaved_tasks import InterleavedTask
from workloads.tasks import EvalResult, EvalTask, Task, TrainResult, TrainTask

_FIELDS = "fields"


def _train_result(values: dict[str, Any]) -> TrainResult:
    return TrainResult(**values | {"losses": tuple(values["losses"])})


_RESULTS: Mapping[str, Callable[[dict[str, Any]], TrainResult | EvalResult]] = {
    **dict.fromkeys((TrainTask.__name__, InterleavedTask.__name__), _train_result),
    EvalTask.__name__: lambda values: EvalResult(**values),
}


class DamagedError(ValueError):
    """What was kept is not what was written."""


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """A state as it is kept: arrays by name, and plain JSON values that say how they belong together.

    Attributes:
        arrays: named `<field>/<tensor>`.
        fields: what `workloads.states` needs to make a state of them again.
    """

    arrays: Mapping[str, np.ndarray]
    fields: Mapping[str, Any]

    def tensors(self, field: str) -> dict[str, np.ndarray]:
        """Return the arrays of one field of the state by their own names, in order; none for a field that it lacks."""
        names = self.fields.get(field, {}).get("tensors", [])
        return {name: self.arrays[f"{field}/{name}"] for name in names}

    def to_bytes(self) -> bytes:
        """Return the content of a safetensors file; equal states give equal bytes."""
        return save(dict(self.arrays), {_FIELDS: json.dumps(self.fields, separators=(",", ":"))})

    @classmethod
    def from_bytes(cls, data: bytes) -> "SavedState":
        """Return the state of `to_bytes`.

        Raises:
            DamagedError: these are not such bytes.
        """
        try:
            arrays = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # the format's own length and JSON
            return cls(arrays=arrays, fields=json.loads(header["__metadata__"][_FIELDS]))
        except (SafetensorError, ValueError, KeyError) as error:
            raise DamagedError(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a finished task reports.

    Attributes:
        kind: name of the task's class.
        key: of the task.
        result: what it reports; None for a task that only makes a state.
        state: sha256 in hex of the file of the state that it made; None for one that makes none.
    """

    kind: str
    key: str
    result: TrainResult | EvalResult | None
    state: str | None

    def to_json(self) -> str:
        """Return the record with its checksum, on one line."""
        content = _line(asdict(self))
        return _line({"record": asdict(self), "sha256": _sha256(content.encode())})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Record":
        """Return the record of `to_json`.

        Raises:
            DamagedError: this is no such text, or its checksum is wrong.
        """
        try:
            whole = json.loads(text)
            content = whole["record"]
            if whole["sha256"] != _sha256(_line(content).encode()):
                raise DamagedError("its checksum is wrong")
            kind, values = content["kind"], content["result"]
            result = None if values is None else _RESULTS[kind](values)
            return cls(kind=kind, key=content["key"], result=result, state=content["state"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(str(error)) from None


def seal(task: Task, result: TrainResult | EvalResult | None, state: SavedState | None) -> tuple[Record, bytes | None]:
    """Return a task's record and the content of its state's file."""
    content = None if state is None else state.to_bytes()
    digest = None if content is None else _sha256(content)
    return Record(kind=type(task).__name__, key=task.key, result=result, state=digest), content


def open_state(content: bytes, digest: str) -> SavedState:
    """Return the state of a file whose record says `digest`.

    Raises:
        DamagedError: the content is another.
    """
    if _sha256(content) != digest:
        raise DamagedError("its checksum is wrong")
    return SavedState.from_bytes(content)


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
