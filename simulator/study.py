"""A study: a scenario, what is varied in it, and with that a list of cases, each a scenario of its own.

A study's file is read as strictly as a scenario's. Its cases are the grid of `vary`, times the rows of `zip`, times the
listed `cases`, times the seeds; the first key varies slowest and seeds fastest. Whatever can be wrong with a case is
found before any case runs.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass

from devices.problems import InputError, Problem, did_you_mean
from devices.strict_yaml import Document, parse_value, read_document, validate
from simulator.draws import generator
from simulator.fields import STRICT, Count, Id, Seed, Text
from simulator.overrides import apply_overrides, parse_overrides
from simulator.scenario import Scenario, find
from simulator.sections import SeedSection

FOLDER = Path(__file__).parent / "studies"
MAX_CASES = 10_000
ANYBODY = {"fleet": {"mixture": "any", "count": 1}}  # the one section that a scenario cannot do without

Values = tuple[Any, ...]


@checked_dataclass(frozen=True, kw_only=True, config=STRICT)
class Target:
    """What a run is to reach; the study says when each first did, and which never did."""

    perplexity: Annotated[float, Field(gt=1)]


@checked_dataclass(frozen=True, kw_only=True, config=STRICT)
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


@dataclass(frozen=True, kw_only=True)
class Case:
    """One scenario of a study.

    Attributes:
        id: its number in the study, with leading zeros: the name of its run's folder.
        varied: the varied keys and their values.
        seed: of its training; repetitions of a case differ in it.
        overrides: all that is changed in the base scenario, as `KEY=VALUE`.
    """

    id: str
    varied: Mapping[str, Any]
    seed: int
    overrides: tuple[str, ...]

    def __str__(self) -> str:
        """Return how people tell it from others: its number, what is varied, its seed."""
        words = [f"{key}={short(value)}" for key, value in self.varied.items()]
        return f"case {self.id} ({', '.join([*words, f'seed {self.seed}'])})"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is asked, and of which scenarios.

    Attributes:
        name, label, metrics: as in the file.
        target_perplexity: what a run is to reach; None for no target.
        base: the base scenario's file, as read.
        base_folder: where the user's own catalogue and data are; None for a shipped scenario.
        factors: the keys that vary, in order.
        cases: in order.
    """

    name: str
    label: str
    metrics: tuple[str, ...]
    target_perplexity: float | None
    base: Document
    base_folder: Path | None
    factors: tuple[str, ...]
    cases: tuple[Case, ...]

    def scenario(self, case: Case) -> Scenario:
        """Return the scenario of a case.

        Raises:
            InputError: something in it cannot be used.
        """
        return Scenario.of(self.base, case.overrides, folder=self.base_folder)


def load_study(source: str | Path, changes: Mapping[str, Any] | None = None) -> Study:
    """Return a shipped study, by name, or that of a YAML file.

    Args:
        source: a name of `shipped_studies()`, or a path.
        changes: keys of the scenario and values that they have in all cases, over those of the file.

    Raises:
        InputError: there is no such study, or something in it cannot be used; every problem is named.
    """
    path, folder = _find(source)
    document = read_document(path)
    file = validate(StudyFile, document)
    return _study(file, document, folder, changes or {})


def quick_study(
    base: str,
    vary: Mapping[str, Sequence[Any]],
    *,
    seeds: int = 1,
    set: Mapping[str, Any] | None = None,  # noqa: A002 -- as in the file
    name: str | None = None,
) -> Study:
    """Return the grid of some keys over a scenario.

    Raises:
        InputError: something cannot be used.
    """
    named = name or f"{Path(base).stem}-sweep"
    data = {"name": named, "base": base, "vary": {key: list(values) for key, values in vary.items()}, "seeds": seeds}
    document = Document(json.loads(json.dumps(data)), "--vary", {})
    return _study(validate(StudyFile, document), document, None, set or {})


def shipped_studies() -> tuple[str, ...]:
    """Return the names of the studies in the package, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


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


def _find(source: str | Path) -> tuple[Path, Path | None]:
    known = shipped_studies()
    if str(source) in known:
        return FOLDER / f"{source}.yaml", None
    path = Path(source)
    if path.is_file():
        return path, path.resolve().parent
    hint = f"shipped studies: {', '.join(known)}{did_you_mean(path.stem, known)}"
    raise InputError(Problem(f"no such file, and no shipped study of this name; {hint}", str(source)))


def _study(file: StudyFile, document: Document, folder: Path | None, changes: Mapping[str, Any]) -> Study:
    _check(file, document, changes)
    base_file, base_folder = find(_beside(file.base, folder))
    fixed = {**file.set, **changes}
    combinations = _combinations(file, document)
    base = read_document(base_file)
    seeds = _seeds(file, base, fixed)
    if file.seeds != 1:  # a part of the seed that is set is where repetitions start from
        fixed = {key: value for key, value in fixed.items() if key.partition(".")[0] != "seed"}
    width = max(3, len(str(len(combinations) * len(seeds))))
    cases = [
        Case(
            id=f"{number:0{width}d}",
            varied=varied,
            seed=seed.training,
            overrides=tuple(_override(key, value) for key, value in {**fixed, **varied, **repeated}.items()),
        )
        for number, (varied, seed) in enumerate(itertools.product(combinations, seeds), start=1)
        for repeated in [_repetition(seed) if file.seeds != 1 else {}]
    ]
    factors = dict.fromkeys(key for values in combinations for key in values)
    return Study(
        name=file.name,
        label=file.label,
        metrics=file.metrics,
        target_perplexity=None if file.target is None else file.target.perplexity,
        base=base,
        base_folder=base_folder,
        factors=tuple(factors),
        cases=tuple(cases),
    )


def _beside(base: str, folder: Path | None) -> str:
    """Return a scenario's file as the study's file means it: relative to itself, where there is one."""
    beside = None if folder is None else folder / base
    return str(beside) if beside is not None and beside.is_file() else base


def _check(file: StudyFile, document: Document, changes: Mapping[str, Any]) -> None:
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
    for section, keys in [*sections, ("--set", changes)]:
        for key in keys:
            path = (section,) if section == "cases" else (section, key)
            if key in places and not (section == "--set" and places[key] == "set"):
                problems.append(document.problem(f"'{key}' is given in '{places[key]}' already", path))
            elif key.partition(".")[0] == "seed" and not _goes_with_seeds(file, section):
                problems.append(document.problem("a seed of its own excludes 'seeds': keep one of the two", path))
            places[key] = section
    if not (file.vary or file.zip or file.cases or file.seeds != 1) and not problems:
        problems.append(document.problem("nothing varies: give 'vary', 'zip', 'cases' or 'seeds'", ()))
    if problems:
        raise InputError(*problems)


def _goes_with_seeds(file: StudyFile, section: str) -> bool:
    """Return whether a section may say something of the seed: where repetitions start, or what a single one has."""
    return file.seeds == 1 or (isinstance(file.seeds, int) and section in {"set", "--set"})


def _combinations(file: StudyFile, document: Document) -> list[dict[str, Any]]:
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


def _seeds(file: StudyFile, base: Document, fixed: Mapping[str, Any]) -> list[SeedSection]:
    """Return the seed of each repetition."""
    if not isinstance(file.seeds, int):
        return [SeedSection(fleet=seed, data=seed, training=seed) for seed in file.seeds]
    texts = [_override(key, value) for key, value in fixed.items() if key.partition(".")[0] == "seed"]
    changed, _ = apply_overrides(base, parse_overrides(texts))
    first = Scenario.of(
        Document({"seed": changed.data.get("seed", 0), **ANYBODY}, base.file, base.lines), folder=None
    ).seed
    return [
        SeedSection(fleet=first.fleet + step, data=first.data + step, training=first.training + step)
        for step in range(file.seeds)
    ]


def _repetition(seed: SeedSection) -> dict[str, Any]:
    return {"seed": {"fleet": seed.fleet, "data": seed.data, "training": seed.training}}


def _override(key: str, value: object) -> str:
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def check_cases(study: Study, cases: Sequence[Case], check: Callable[[Scenario], None]) -> None:
    """Check the scenario of each case.

    Raises:
        InputError: some cannot be used: each problem once, with the first case that has it.
    """
    found = dict[tuple[str | None, str], list[tuple[Case, Problem]]]()
    for case in cases:
        try:
            check(study.scenario(case))
        except InputError as error:
            for problem in error.problems:
                found.setdefault((problem.key, problem.message), []).append((case, problem))
    if found:
        raise InputError(*(_blamed(places) for places in found.values()))


def _blamed(places: Sequence[tuple[Case, Problem]]) -> Problem:
    """Return a problem that names the first of the cases that have it, and how many more do."""
    case, problem = places[0]
    more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
    return Problem(f"{problem.message} [{case}{more}]", problem.file, problem.line, problem.key, problem.value)
