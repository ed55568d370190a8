"""`--set a.b=value`: changes to a scenario's data before it is checked.

Which override comes first on the command line never matters, except that of two for the same key the later one wins.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from devices.problems import InputError, Problem, dotted, shown
from devices.strict_yaml import Document, KeyPath, parse_value
from devices.yaml_events import MAX_DEPTH

SOURCE = "--set"

# Naming one of these starts the fleet afresh, as naming its `kind` does for any other section.
FLEET_FORMS = {("fleet", "mixture"), ("fleet", "clients")}

# Keys whose value may be a word or number that stands for a section, and that section.
SHORTHANDS: Mapping[KeyPath, Callable[[object], dict[str, object]]] = {
    ("seed",): lambda seed: {"fleet": seed, "data": seed, "training": seed},
    ("workload", "dataset"): lambda source: {"source": source},
    ("workload", "codec", "activations"): lambda kind: {"kind": kind},
    ("workload", "codec", "gradients"): lambda kind: {"kind": kind},
    ("costs", "jitter"): lambda kind: {"kind": kind},
    ("costs", "throttle"): lambda kind: {"kind": kind},
}


@dataclass(frozen=True, kw_only=True)
class Override:
    """One `key=value`, the key as its parts."""

    path: tuple[str, ...]
    value: object

    @property
    def starts_afresh(self) -> bool:
        """Return whether it says which kind of section is meant, so that keys of the former kind go."""
        return self.path in FLEET_FORMS or (len(self.path) > 1 and self.path[-1] == "kind")

    @property
    def rank(self) -> tuple[int, bool]:
        """Return its place in the order of application: sections before what is in them, and before a fresh start."""
        return (len(self.path) - 1, True) if self.starts_afresh else (len(self.path), False)


def parse_overrides(texts: Sequence[str]) -> tuple[Override, ...]:
    """Return overrides as data; the last one for each key.

    Raises:
        InputError: A text is not `key=value`, or its value is not acceptable YAML; all such texts are named.
        TypeError: It is one text, not a sequence of them.
    """
    if isinstance(texts, str):
        raise TypeError(f"overrides: expected a list of KEY=VALUE texts, such as [{texts!r}], got one text")
    parsed: dict[tuple[str, ...], Override] = {}
    problems = list[Problem]()
    for text in texts:
        key, equals, value = text.partition("=")
        path = tuple(part.strip() for part in key.split("."))
        if not equals or not all(path) or len(path) > MAX_DEPTH:
            problems.append(Problem(f"expected KEY=VALUE, such as rounds=4, got {shown(text)}", SOURCE, value=text))
            continue
        try:
            parsed[path] = Override(path=path, value=parse_value(value))
        except InputError as error:
            problems += [replace(problem, file=SOURCE, key=dotted(path)) for problem in error.problems]
    if problems:
        raise InputError(*problems)
    return tuple(parsed.values())


def apply_overrides(document: Document, overrides: Sequence[Override]) -> tuple[Document, tuple[str, ...]]:
    """Return the document as overridden, and one line for each section that was started afresh and lost keys by it.

    Keys that the document does not have are added; whether they are allowed is for the check of the whole to say.

    Raises:
        InputError: A key goes on below a plain value, or names a position that a list does not have.
    """
    data, notes, problems = copy.deepcopy(document.data), list[str](), list[Problem]()
    fresh: set[KeyPath] = set()
    for override in sorted(overrides, key=lambda item: item.rank):
        try:
            holder = _holder(data, override.path)
            if override.starts_afresh and isinstance(holder, dict) and override.path[:-1] not in fresh:
                fresh.add(override.path[:-1])
                notes += _start_afresh(holder, override)
            _store(holder, override)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    # What stands in a section started afresh stands in no line of the file.
    lines = {
        path: line for path, line in document.lines.items() if not any(path[:n] in fresh for n in range(len(path)))
    }
    return replace(document, data=data, lines=lines), tuple(notes)


def _holder(data: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Return the mapping or list that the last part of the path is in, making mappings on the way."""
    place: Any = data
    for depth, part in enumerate(path[:-1], start=1):
        place = _below(place, part, path[:depth])
        if not isinstance(place, dict | list):
            message = f"this is {shown(place)}: nothing can be set below it, as in {dotted(path)}"
            raise InputError(Problem(message, SOURCE, key=dotted(path[:depth]), value=place))
    return place


def _below(place: Any, part: str, path: tuple[str, ...]) -> Any:
    if isinstance(place, list):
        return place[_position(place, part, path)]
    if place.get(part) is None:
        place[part] = {}
    elif path in SHORTHANDS and not isinstance(place[part], dict):
        place[part] = SHORTHANDS[path](place[part])
    return place[part]


def _store(holder: Any, override: Override) -> None:
    key: str | int = override.path[-1]
    if isinstance(holder, list):
        key = _position(holder, override.path[-1], override.path)
    holder[key] = copy.deepcopy(override.value)


def _position(items: list[Any], part: str, path: tuple[str, ...]) -> int:
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    allowed = f"0 to {len(items) - 1}" if items else "none, as the list is empty"
    message = f"no such position in the list; allowed: {allowed}"
    raise InputError(Problem(message, SOURCE, key=dotted(path), value=part))


def _start_afresh(section: dict[str, Any], override: Override) -> list[str]:
    """Empty a section, except that a mixture takes over a fleet's number of clients; return what to say about it."""
    former = dict(section)
    section.clear()
    if override.path == ("fleet", "mixture") and (num_clients := _num_clients(former)) is not None:
        section["count"] = num_clients
    key, value = override.path[-1], override.value
    dropped = [name for name in former if name not in section and name != key]
    choice = key if isinstance(value, list | dict) else f"{key} {shown(value)}"
    note = f"{dotted(override.path[:-1])}: starts afresh with {choice}; dropped {', '.join(dropped)}"
    return [note] if dropped else []


def _num_clients(fleet: Mapping[str, Any]) -> object:
    """Return the number of clients of a fleet, or None where it is not known; whether it is valid is not asked here."""
    groups = fleet.get("clients")
    if not isinstance(groups, list):
        return fleet.get("count")
    counts = [group.get("count", 1) for group in groups if isinstance(group, dict)]
    known = [count for count in counts if isinstance(count, int)]
    return sum(known) if len(known) == len(groups) else None
