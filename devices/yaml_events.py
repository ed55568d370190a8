"""From YAML events to plain data with the line of every key, refusing what a data file has no use for.

ruamel.yaml scans and parses; the data is built here, because only then is a duplicate key, an alias or a depth bomb
refused before it costs anything, with its line, and together with all other problems of the file.
"""

import math
import re
from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from devices.problems import MAX_SHOWN, InputError, Problem, dotted

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top level down to a value."""

MAX_DEPTH = 20
INTEGERS = range(-(2**63), 2**64)

# YAML 1.2.2, section 10.3.2 (core schema): the plain scalars that are not text.
CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
SURROGATE = re.compile(r"[\ud800-\udfff]")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def build(text: str, file: str | None) -> tuple[object, dict[KeyPath, int]]:
    """Return the data of one YAML 1.2 document and the line (from 1) of every key and list item.

    An empty document is None.

    Raises:
        InputError: The text is not YAML 1.2, or holds duplicate keys, keys that are not text, aliases, anchors, tags,
            numbers that are not finite or do not fit in 64 bits, more than one document, or more than 20 levels. All at
            once, but nothing is read past a syntax error, the depth limit or the fiftieth problem.
    """
    builder = _Builder(file, YAML(typ="safe", pure=True).parse(text))
    try:
        data = builder.document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        builder.report(f"not valid YAML: {error.problem or error.context}", mark.line + 1 if mark else None)
    except YAMLError as error:
        builder.report(f"not valid YAML: {' '.join(str(error).split())}", None)
    except _StopError:
        pass
    if builder.problems:
        raise InputError(*builder.problems)
    return data, builder.lines


class _StopError(Exception):
    """Reading stops; the problems have been noted."""


class _Builder:
    """Consumes the events of one document by recursive descent, at most `MAX_DEPTH` deep."""

    def __init__(self, file: str | None, events: Iterator[Event]) -> None:
        self.problems: list[Problem] = []
        self.lines: dict[KeyPath, int] = {}
        self._file = file
        self._events = events

    def report(self, message: str, line: int | None, path: KeyPath = (), value: object = None) -> None:
        self.problems.append(Problem(message, self._file, line, dotted(path), value))
        if len(self.problems) == MAX_SHOWN:
            raise _StopError

    def document(self) -> object:
        data: object = None
        num_documents = 0
        next(self._events)  # stream start
        while not isinstance(event := next(self._events), StreamEndEvent):
            num_documents += 1
            if isinstance(event, DocumentStartEvent) and event.version not in {None, (1, 2)}:
                self.report("this is read as YAML 1.2; remove the %YAML directive", event.start_mark.line + 1)
            if num_documents == 2:
                self.report("more than one document in a file; remove the '---'", event.start_mark.line + 1)
            value = self._value(next(self._events), (), 1)
            data = value if num_documents == 1 else data
            next(self._events)  # document end
        return data

    def _value(self, event: Event, path: KeyPath, depth: int) -> object:
        line = event.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._refuse_references(event, path)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, path)
        if depth > MAX_DEPTH:
            self.report(f"nested more than {MAX_DEPTH} levels deep", line, path)
            raise _StopError
        if isinstance(event, MappingStartEvent):
            return self._mapping(path, depth)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(path, depth)
        return None  # an alias, reported above

    def _refuse_references(self, event: Event, path: KeyPath) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            self.report(f"aliases are not allowed (*{event.anchor}); write the value out", line, path)
        elif isinstance(event, NodeEvent) and event.anchor:
            self.report(f"anchors are not allowed (&{event.anchor})", line, path)
        tag = getattr(event, "tag", None)
        if tag:
            self.report(f"tags are not allowed ({tag})", line, path)
        if isinstance(event, ScalarEvent) and SURROGATE.search(event.value):
            self.report("half of a surrogate pair is no character", line, path)

    def _sequence(self, path: KeyPath, depth: int) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._value(event, (*path, len(items)), depth + 1))
        return items

    def _mapping(self, path: KeyPath, depth: int) -> dict[str, object]:
        mapping: dict[str, object] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            line = event.start_mark.line + 1
            key = self._key(event, path, depth)
            key_path = (*path, key)
            if key in mapping:
                first = self.lines[key_path]
                self.report(f"this key is given twice (first in line {first})", line, key_path)
            self.lines.setdefault(key_path, line)
            mapping[key] = self._value(next(self._events), key_path, depth + 1)
        return mapping

    def _key(self, event: Event, path: KeyPath, depth: int) -> str:
        line = event.start_mark.line + 1
        if not isinstance(event, ScalarEvent):
            self.report("a key must be text", line, path)
            self._value(event, path, depth + 1)
            return f"(key in line {line})"
        self._refuse_references(event, path)
        if event.implicit[0] and _resolve(event.value) is not event.value:
            self.report(f"a key must be text; write '{event.value}' in quotes", line, path)
        return str(event.value)

    def _scalar(self, event: ScalarEvent, path: KeyPath) -> object:
        if not event.implicit[0]:  # quoted, block or tagged
            return str(event.value)
        value = _resolve(event.value)
        outside = isinstance(value, int) and value not in INTEGERS
        if outside or (isinstance(value, float) and not math.isfinite(value)):
            shown = event.value if len(event.value) <= 40 else f"{event.value[:40]}..."
            why = "a whole number must fit in 64 bits" if outside else "a number must be finite"
            self.report(f"{why}, got {shown}", event.start_mark.line + 1, path, shown)
        return value


def _resolve(text: str) -> object:
    """Return what a plain scalar means in the core schema of YAML 1.2: the text itself where it is text."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        # Python refuses to convert thousands of digits; any number this long is out of range anyway.
        return int(text, base) if len(text) <= 100 else INTEGERS.stop
    if FLOAT.fullmatch(text):
        return float(text)
    return math.nan if NOT_FINITE.fullmatch(text) else text
