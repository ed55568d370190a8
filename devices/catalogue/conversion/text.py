"""Numbers and text as the catalogue's YAML files write them."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal

from devices.units import GIBI, bytes_from_gib

Data = Mapping[str, object]

# Text that needs no quotes in block and flow style: no indicator, no colon or comma, no number or constant.
PLAIN = re.compile(
    r"(?!(?:true|false|null|yes|no|on|off)$)[A-Za-z](?:[A-Za-z0-9 ._/()+=<>-]*[A-Za-z0-9._/()+=<>-])?", re.IGNORECASE
)


def decimal(text: str, unit: int = 1) -> Decimal:
    """Return a number of a table in units of `unit`, to the digit."""
    return Decimal(text) / unit


def gib(num_bytes: str) -> Decimal:
    """Return the shortest number of GiB that reads back as this number of bytes."""
    exact = int(num_bytes) / GIBI
    shortened = (Decimal(f"{exact:.{digits}g}") for digits in range(1, 18))
    return next(number for number in shortened if bytes_from_gib(float(number)) == int(num_bytes))


def yaml_file(data: Data, table: str) -> str:
    """Return a YAML file: a key a line, mappings in one line, lists of them an item a line; blanks are left out."""
    lines = [f"# Converted from {table} by devices/catalogue/convert.py."]
    for key, value in data.items():
        if value is None or value in ("", []):
            continue
        if isinstance(value, list) and isinstance(value[0], Mapping):
            lines += [f"{key}:", *(f"  - {_flow(item)}" for item in value)]
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def nested_yaml_file(data: Data, comment: str) -> str:
    """Return a YAML file whose mappings are indented, except the innermost ones."""
    return "\n".join([f"# {line}" for line in comment.splitlines()] + _block(data, "")) + "\n"


def _block(data: Data, indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in data.items():
        if isinstance(value, Mapping) and any(isinstance(inner, Mapping) for inner in value.values()):
            lines += [f"{indent}{key}:", *_block(value, f"{indent}  ")]
        else:
            lines.append(f"{indent}{key}: {_flow(value)}")
    return lines


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        inside = (f"{key}: {_flow(item)}" for key, item in value.items() if item is not None and item != "")
        return f"{{{', '.join(inside)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_flow(item) for item in value)}]"
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
