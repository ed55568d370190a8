"""Arrays computed once and kept by the content they were computed from.

An entry is a safetensors file named by a hash of everything that its arrays depend on, so an entry is never stale, only
unused. It carries a digest of its arrays: one that is damaged, truncated or foreign is computed again. A cache that
cannot be written costs time, never a result.
"""

import contextlib
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

Arrays = Mapping[str, np.ndarray]

_LOG = logging.getLogger(__name__)


def cached_arrays(folder: Path | None, name: str, key: Mapping[str, object], compute: Callable[[], Arrays]) -> Arrays:
    """Return what `compute` returns, from the entry of `key` where there is a sound one.

    Args:
        folder: where entries lie; None computes without keeping.
        name: what the arrays are, the readable half of the entry's file name.
        key: everything that the arrays depend on, as plain JSON values.
        compute: makes the arrays by name; each must be contiguous.
    """
    if folder is None:
        return compute()
    key_digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = folder / f"{name}-{key_digest[:40]}.safetensors"
    arrays = _read(path)
    if arrays is None:
        arrays = compute()
        _write(path, arrays)
    return arrays


def arrays_digest(arrays: Arrays) -> str:
    """Return the SHA-256 of names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read(path: Path) -> Arrays | None:
    try:
        with safe_open(path, framework="numpy") as entry:
            metadata = entry.metadata() or {}
            arrays = {name: entry.get_tensor(name) for name in entry.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError):
        return None
    return arrays if metadata.get("digest") == arrays_digest(arrays) else None


def _write(path: Path, arrays: Arrays) -> None:
    # A reader sees a whole entry or none: the file gets its name only when it is complete.
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(save(dict(arrays), {"digest": arrays_digest(arrays)}))
        temporary.replace(path)
    except OSError as problem:
        _LOG.warning("could not keep %s in the cache: %s", path, problem)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
