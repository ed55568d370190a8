"""What a study's file may say, and the combinations of values that it asks for.

Checked as strictly as a scenario's file; what only the scenario can tell, such as whether a key exists, is checked case
by case in `simulator.study`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from devices.problems import InputError, Problem
from devices.strict_yaml import Document
from simulator.draws import generator
from simulator.overrides import SOURCE
from simulator.sections.fields import STRICT, Count, Id, Seed, Text

MAX_CASES = 10_000

Values = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Target:
    """What a run is to reach; the study says when each first did, and which never did."""

    perplexity: Annotated[float, Field(gt=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StudyFile:
    """What a study's file may say.

    Attributes:
        name: Names the study's folder.
        label: What it asks, for people.
        base: A shipped scenario, or a scenario's file relative to this one.
        set: Keys of the scenario, dotted, and the value that they have in all cases.
        vary: Keys and lists of values: every combination of them is a case.
        zip: Keys and lists of equal lengths: the first values together, the second values together, and so on.
        cases: Mappings of keys to values, one for each case.
        sample: So many of all these combinations, drawn at random.
        seeds: How many seeds each case is repeated with, from the scenario's own upward; or the seeds themselves.
        metrics: What the closing table shows.
        target: What a run is to reach.
    """

    name: Id = "study"
    label: str = ""
    base: Text
    set: Mapping[str, Any] = Field(default_factory=dict)
    vary: Mapping[str, Values] = Field(default_factory=dict)
    zip: Mapping[str, Values] = Field(default_factory=dict)
    cases: tuple[Mapping[str, Any], ...] | None = None
    sample: Count | None = None
    seeds: Count | tuple[Seed, ...] = 1
    metrics: tuple[str, ...] = ()
    target: Target | None = None


def check_file(file: StudyFile, document: Document, changes: Mapping[str, Any]) -> None:
    """Refuse what pydantic cannot see: nothing to vary, lists that do not fit, keys that are given twice."""
    listed = [("vary", file.vary), ("zip", file.zip)]
    problems = [
        document.problem("expected a list of at least one value", (section, key))
        for section, axes in listed
        for key, values in axes.items()
        if not values
    ]
    lengths = {key: len(values) for key, values in file.zip.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        problems.append(document.problem(f"lists that go together are equally long; {told}", ("zip",)))
    if file.cases is not None and not file.cases:
        problems.append(document.problem("expected a list of at least one case", ("cases",)))
    if not isinstance(file.seeds, int) and not file.seeds:
        problems.append(document.problem("expected at least one seed", ("seeds",)))
    places = dict[str, str]()
    sections = [("set", file.set), *listed, ("cases", {key: None for case in file.cases or () for key in case})]
    for section, keys in [*sections, (SOURCE, changes)]:
        for key in keys:
            path = (section,) if section == "cases" else (section, key)
            if key in places and not (section == SOURCE and places[key] == "set"):
                problem = document.problem(f"'{key}' is given in '{places[key]}' already", path)
            elif key.partition(".")[0] == "seed" and not _goes_with_seeds(file, section):
                problem = document.problem("a seed of its own excludes 'seeds': keep one of the two", path)
            else:
                places[key] = section
                continue
            problems.append(Problem(problem.message, SOURCE, key=key) if section == SOURCE else problem)
    if not (file.vary or file.zip or file.cases or file.seeds != 1) and not problems:
        problems.append(document.problem("nothing varies: give 'vary', 'zip', 'cases' or 'seeds'", ()))
    if problems:
        raise InputError(*problems)


def _goes_with_seeds(file: StudyFile, section: str) -> bool:
    """Return whether a section may say something of the seed: where repetitions start, or what a single one has."""
    return file.seeds == 1 or (isinstance(file.seeds, int) and section in {"set", SOURCE})


def combinations(file: StudyFile, document: Document) -> list[dict[str, Any]]:
    """Return the values of the varied keys, one mapping for each case without its seed."""
    rows = [dict(zip(file.zip, values, strict=True)) for values in zip(*file.zip.values(), strict=True)] or [{}]
    axes: list[Sequence[Mapping[str, Any]]] = [[{key: value} for value in values] for key, values in file.vary.items()]
    axes += [rows, file.cases or ({},)]
    total = math.prod(len(axis) for axis in axes)
    numbers: Sequence[int] = range(total)
    if file.sample is not None:
        if file.sample > total:
            message = f"there are {total:,} combinations, of which {file.sample:,} cannot be drawn"
            raise InputError(document.problem(message, ("sample",), file.sample))
        drawn = generator(0, "sample of cases").choice(total, file.sample, replace=False)
        numbers = sorted(drawn.tolist())
    num_seeds = file.seeds if isinstance(file.seeds, int) else len(file.seeds)
    if len(numbers) * num_seeds > MAX_CASES:
        message = f"{len(numbers) * num_seeds:,} cases are more than {MAX_CASES:,}; draw some of them with 'sample'"
        raise InputError(document.problem(message, ()))
    return [_combination(axes, number) for number in numbers]


def _combination(axes: Sequence[Sequence[Mapping[str, Any]]], number: int) -> dict[str, Any]:
    """Return the combination of a number, of which the last axis is the lowest digit."""
    parts = []
    for axis in reversed(axes):
        number, place = divmod(number, len(axis))
        parts.append(axis[place])
    return {key: value for part in reversed(parts) for key, value in part.items()}
