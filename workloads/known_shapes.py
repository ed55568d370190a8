"""Models known by their shape alone: what costs depend on, without weights or a tokenizer.

The catalogue holds one file for each well-known model, `assets/shapes/<name>.json`: the keys of its config.json that a
shape needs, written down from the published hyper-parameters. A test compares the parameters that follow from them with
the published numbers.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from workloads.config_json import ConfigError
from workloads.shapes import read_config

SHAPES = Path(__file__).parent / "assets" / "shapes"


@dataclass(frozen=True, kw_only=True)
class KnownShape:
    """A model without weights.

    Attributes:
        name: what the user called it.
        config: the content of its config.json.
    """

    name: str
    config: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """Return the sha256 in hex of the values of config.json, however they are laid out in the file."""
        canonical = json.dumps(self.config, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def shape_names() -> tuple[str, ...]:
    """Return the names of the catalogue in order."""
    return tuple(sorted(file.stem for file in SHAPES.glob("*.json")))


def is_shape(name: str) -> bool:
    """Return whether a name stands for a shape alone: one of the catalogue, or the path of a JSON file."""
    return name in shape_names() or (Path(name).suffix == ".json" and Path(name).expanduser().is_file())


def resolve_shape(name: str, *, others: Iterable[str] = ()) -> KnownShape:
    """Return the shape of a model.

    Args:
        name: one of the catalogue, the path of a config.json, or of a folder that has one.
        others: further names that the caller understands, for the error message.

    Raises:
        ConfigError: there is no such shape, or its file is no mapping of values.
    """
    file = SHAPES / f"{name}.json"
    if name not in shape_names():
        path = Path(name).expanduser()
        file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        known = list(dict.fromkeys([*shape_names(), *others]))
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ConfigError(
            f"unknown model {name!r}{hint} Known by their shape: {', '.join(known)}, or the path of a config.json."
        )
    try:
        return KnownShape(name=name, config=dict(read_config(file)))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
