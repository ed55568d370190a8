"""YAML 1.2 read strictly, and checked against a pydantic model, with every problem at its file, line and key."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from devices.problems import InputError, Problem, did_you_mean, dotted
from devices.pydantic_errors import line_of, problems_of
from devices.yaml_events import KeyPath, build

__all__ = [
    "Document",
    "InputError",
    "KeyPath",
    "Problem",
    "did_you_mean",
    "parse_document",
    "parse_value",
    "read_document",
    "validate",
]

MAX_BYTES = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    """A YAML file whose top level is a mapping.

    Attributes:
        data: Plain dicts (keys are text), lists, text, bool, int, float and None.
        file: The name that messages show.
        lines: Line, counted from 1, of each path of keys and list positions; the top level is the empty path.
    """

    data: dict[str, Any]
    file: str
    lines: Mapping[KeyPath, int]

    def problem(self, message: str, path: KeyPath, value: object = None) -> Problem:
        """Return a problem at a key of this document, or at the innermost section around it."""
        return Problem(message, self.file, line_of(path, self.lines), dotted(path), value)

    def located(self, problem: Problem) -> Problem:
        """Return a problem that knows its key, or none, with this document's file and the key's line."""
        path = tuple(int(part) if part.isdecimal() else part for part in problem.key.split(".")) if problem.key else ()
        return replace(problem, file=self.file, line=line_of(path, self.lines))


def read_document(path: Path) -> Document:
    """Return the content of a YAML file.

    Raises:
        InputError: The file cannot be read, is over 1 MB or not UTF-8, or as `parse_document`.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path))) from error
    if len(content) > MAX_BYTES:
        raise InputError(Problem("larger than 1 MB; this is not the file that was meant", str(path)))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(Problem("not UTF-8 text", str(path), line)) from error
    return parse_document(text, str(path))


def parse_document(text: str, file: str) -> Document:
    """Return the content of YAML text whose top level is a mapping.

    Raises:
        InputError: The text is not YAML 1.2, is empty or not a mapping, or holds duplicate keys, aliases, anchors,
            tags, nan, inf, or more than 20 levels.
    """
    data, lines = build(text, file)
    if data is None:
        raise InputError(Problem("the file is empty", file))
    if not isinstance(data, dict):
        raise InputError(
            Problem("expected a mapping (`key: value` lines) at the top level", file, lines[()], value=data)
        )
    return Document(data, file, lines)


def parse_value(text: str) -> object:
    """Return what a YAML value of the command line means: `5e-5` is a float, `[1, 2]` a list, an empty one None.

    Raises:
        InputError: As `parse_document`, without file and line.
    """
    try:
        return build(text, None)[0]
    except InputError as error:
        raise InputError(*(Problem(p.message, key=p.key, value=text) for p in error.problems)) from error


def validate(model: type[T], document: Document) -> T:
    """Return a document as an instance of a pydantic model or pydantic dataclass, checked strictly.

    A number is never made from text nor a whole number from a fraction; a list may fill a tuple.

    Raises:
        InputError: With every violation at its line and dotted key.
    """
    try:
        # JSON, because strict mode takes tuples from lists and dataclasses from mappings only there.
        adapter: TypeAdapter[T] = TypeAdapter(model)
        return adapter.validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        raise InputError(*problems_of(error, model, document.file, document.lines)) from None
