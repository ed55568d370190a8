"""Values as the command line writes them: `--vary KEY=A,B,...`, and as tables show them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from devices.problems import InputError, Problem
from devices.strict_yaml import parse_value


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Return keys and values of `--vary KEY=A,B,...`; commas in quotes and brackets part nothing.

    Raises:
        InputError: a text is not of this form; all such texts are named.
    """
    varied, problems = dict[str, list[Any]](), list[Problem]()
    for text in texts:
        key, equals, values = text.partition("=")
        key = key.strip()
        parts = split_outside(values)
        if not equals or not key or not all(parts):
            problems.append(
                Problem(f"expected KEY=VALUE,VALUE, such as policy.kind=fixed,splitft, got '{text}'", "--vary")
            )
        elif key in varied:
            problems.append(Problem("this key is given twice", "--vary", key=key))
        else:
            try:
                varied[key] = [parse_value(part) for part in parts]
            except InputError as error:
                problems += [Problem(problem.message, "--vary", key=key, value=text) for problem in error.problems]
    if problems:
        raise InputError(*problems)
    return varied


def split_outside(text: str) -> list[str]:
    """Return the parts of a text between commas that stand outside quotes and brackets, without spaces around."""
    parts, quote, depth = [""], "", 0
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "[{") - (character in "]}")
            if character == "," and depth == 0:
                parts.append("")
                continue
        parts[-1] += character
    return [part.strip() for part in parts]


def short(value: object) -> str:
    """Return a value as a short text: a section on one line, a word without quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {short(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(short(item) for item in value) + "]"
    return value if isinstance(value, str) else json.dumps(value)
