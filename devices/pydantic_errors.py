"""What pydantic found wrong, in words for the person who wrote the file.

Three things need care. pydantic puts the names of union members into an error's location, where the file has no such
key. It reports one error per union member for one wrong value. And it does not say which keys are allowed; types do.
"""

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from devices.problems import Problem, did_you_mean, dotted, shown
from devices.yaml_events import KeyPath

MAX_PLACES = 2  # that have a key which was misplaced

TAG = "kind"
"""The key that says which member of a union of sections is meant."""

# What each kind of error expected, as the end of "expected ...". Fields in braces come from the error's context.
EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "none_required": "null",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "a number greater than {gt:,.10g}",
    "greater_than_equal": "a number of at least {ge:,.10g}",
    "less_than": "a number less than {lt:,.10g}",
    "less_than_equal": "a number of at most {le:,.10g}",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of {max_length} or fewer",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
}


@dataclass(frozen=True, kw_only=True)
class _Violation:
    """One error at its place in the file.

    The sentence is "expected ..., got ..." with `hint` after it, or `message` where that is the whole sentence.
    """

    path: KeyPath
    value: object = None
    expected: str = ""
    hint: str = ""
    message: str = ""


def problems_of(error: ValidationError, model: object, file: str, lines: Mapping[KeyPath, int]) -> list[Problem]:
    """Return one problem for each place that is wrong, in the order of the file.

    Args:
        error: What pydantic raised.
        model: The pydantic dataclass that the data was checked against.
        file: The name of the file.
        lines: Line of each path of keys.
    """
    places: dict[KeyPath, list[_Violation]] = {}
    for detail in error.errors(include_url=False):
        violation = _violation(dict(detail), model)
        places.setdefault(violation.path, []).append(violation)
    around = {path[:length] for path in places for length in range(len(path))}
    problems = []
    for path, found in places.items():
        if path in around and all(violation.expected for violation in found):
            continue  # errors inside the union member that was meant say more than "expected text" of another member
        problems.append(Problem(_sentence(found), file, line_of(path, lines), dotted(path), found[0].value))
    return sorted(problems, key=lambda problem: problem.line or 0)


def _sentence(found: list[_Violation]) -> str:
    messages = dict.fromkeys(violation.message for violation in found if violation.message)
    if messages:
        return "; ".join(messages)
    expected = dict.fromkeys(violation.expected for violation in found)
    hints = "".join(violation.hint for violation in found)
    return f"expected {' or '.join(expected)}, got {shown(found[0].value)}{hints}"


def line_of(path: KeyPath, lines: Mapping[KeyPath, int]) -> int | None:
    """Return the line of a key, or of the innermost section around it that the file has."""
    around = (path[:length] for length in range(len(path), -1, -1))
    return next((lines[place] for place in around if place in lines), None)


def _violation(detail: dict[str, Any], model: object) -> _Violation:
    kind, location, value = detail["type"], detail["loc"], detail["input"]
    context: dict[str, Any] = detail.get("ctx", {})
    if kind in {"missing", "missing_argument"}:
        path, _ = _locate(location[:-1], model)
        return _Violation(path=(*path, location[-1]), message="this key is required")
    if kind in {"unexpected_keyword_argument", "extra_forbidden"}:
        path, section = _locate(location[:-1], model)
        hint = _of_other_kinds(location, model) or _elsewhere(location[-1], path, model)
        keys = _keys(section)
        message = f"unknown key; allowed: {', '.join(keys)}{hint or did_you_mean(location[-1], keys)}"
        return _Violation(path=(*path, location[-1]), value=value, message=message)
    path, _ = _locate(location, model)
    if kind == "union_tag_invalid":
        tag, allowed = context["tag"], re.findall("'([^']*)'", context["expected_tags"])
        return _Violation(
            path=(*path, TAG), value=tag, message=f"unknown {TAG} '{tag}'; allowed: {_choice(tag, allowed)}"
        )
    if kind == "union_tag_not_found":
        return _untagged(path, value)
    if kind in EXPECTED:
        words = re.findall("'([^']*)'", context.get("expected", "")) if isinstance(value, str) else []
        hint = did_you_mean(str(value), words)
        return _Violation(path=path, value=value, expected=EXPECTED[kind].format(**context), hint=hint)
    message = str(context["error"]) if "error" in context else f"{detail['msg']}, got {shown(value)}"
    return _Violation(path=path, value=value, message=message)


def _untagged(path: KeyPath, value: object) -> _Violation:
    if not isinstance(value, Mapping):
        return _Violation(path=path, value=value, expected="a mapping")
    return _Violation(path=(*path, TAG), message="this key is required: it says which kind of section is meant")


def _choice(word: str, allowed: list[str]) -> str:
    return f"{', '.join(allowed)}{did_you_mean(word, allowed)}"


def _of_other_kinds(location: tuple[str | int, ...], model: object) -> str:
    """Return which other kinds of the section have this key, if any: `; 'cut' belongs to kind fixed`."""
    _, members = _locate(location[:-2], model)
    key, dataclasses = location[-1], [member for member in members if is_dataclass(member)]
    having = [member for member in dataclasses if key in _keys([member])]
    kinds = [str(kind) for member in having for kind in get_args(get_type_hints(member).get(TAG))]
    return f"; '{key}' belongs to {TAG} {' or '.join(kinds)}" if kinds else ""


def _elsewhere(key: str, path: KeyPath, model: object) -> str:
    """Return where else a key is, if those are few places: `; 'learning_rate' is a key of workload.optimizer`."""
    places = [dotted(place) or "the top level" for place in _places(key, (), _members(model)) if place != path]
    return f"; '{key}' is a key of {' and of '.join(places)}" if 0 < len(places) <= MAX_PLACES else ""


def _places(key: str, path: KeyPath, members: list[Any]) -> Iterator[KeyPath]:
    """Yield the sections that have a key, those apart that are of several kinds or in lists."""
    section = members[0] if len(members) == 1 else None
    if not is_dataclass(section):
        return
    if key in _keys([section]):
        yield path
    for name in _keys([section]):
        yield from _places(key, (*path, name), _child([section], name))


def _locate(location: tuple[str | int, ...], model: object) -> tuple[KeyPath, list[Any]]:
    """Return the path in the file of an error's location, and the types that the model allows there."""
    path: list[str | int] = []
    members = _members(model)
    for part in location:
        if len(members) > 1:  # here pydantic names the union member that it tried
            members = _named(members, part)
        elif part != "[key]":  # here pydantic marks that a key of a mapping is wrong, not its value
            path.append(part)
            members = _child(members, part)
    return tuple(path), members


def _members(annotation: object) -> list[Any]:
    """Return the types of a union without None, or the one type."""
    annotation = _bare(annotation)
    if get_origin(annotation) in {Union, types.UnionType}:
        options = [_bare(option) for option in get_args(annotation) if option is not types.NoneType]
        return options if len(options) > 1 else _members(options[0])
    return [annotation]


def _bare(annotation: object) -> object:
    """Return a type without what is annotated to it."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _named(members: list[Any], name: str | int) -> list[Any]:
    """Return the union member that pydantic calls by this name: its kind, tag or class; a list has a longer name."""
    for member in members:
        kinds = get_args(get_type_hints(member).get(TAG)) if is_dataclass(member) else ()
        if name in {*kinds, getattr(member, "tag", None), getattr(member, "__name__", None)}:
            return _members(member)
    unnamed = [member for member in members if get_origin(member) not in {None, Literal}]
    return _members(unnamed[0]) if unnamed else []


def _child(members: list[Any], part: str | int) -> list[Any]:
    """Return the types allowed for a key of a section, or for an item of a list or mapping."""
    section = members[0] if members else None
    if is_dataclass(section):
        hint = get_type_hints(section, include_extras=True).get(str(part))
        return _members(hint) if hint is not None else []
    items = [argument for argument in get_args(section) if argument is not Ellipsis]
    return _members(items[-1]) if items else []


def _keys(section: list[Any]) -> list[str]:
    return [field.name for member in section if is_dataclass(member) for field in fields(member)]
