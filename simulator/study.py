"""A study: a scenario, what is varied in it, and with that a list of cases, each a scenario of its own.

A study's file is read as strictly as a scenario's. Its cases are the grid of `vary`, times the rows of `zip`, times the
listed `cases`, times the seeds; the first key varies slowest and seeds fastest. Whatever can be wrong with a case is
found before any case runs.
"""

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devices.file_kinds import refuse_other
from devices.problems import InputError, Problem, did_you_mean
from devices.strict_yaml import Document, KeyPath, read_document, validate
from devices.values import own_id
from simulator.overrides import SOURCE, apply_overrides, parse_overrides
from simulator.scenario import Scenario, find, near_file
from simulator.sections.machines import SeedSection
from simulator.study_file import StudyFile, check_file, combinations
from simulator.vary import short

FOLDER = Path(__file__).parent / "studies"
TEMPLATE = FOLDER / "new.yaml.template"
MAX_NAME = 48  # characters of a scenario's name that its study takes over
MAX_TOLD = 5  # of cases that are the same
ANYBODY = {"fleet": {"mixture": "any", "count": 1}}  # the one section that a scenario cannot do without


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


Place = tuple[str, int | None]
"""A file, or an option of the command line, and a line of it."""


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
        places: where the study's file sets or varies a key of the scenario; empty for a study that was begun.
    """

    name: str
    label: str
    metrics: tuple[str, ...]
    target_perplexity: float | None
    base: Document
    base_folder: Path | None
    factors: tuple[str, ...]
    cases: tuple[Case, ...]
    places: Mapping[str, Place] = field(default_factory=dict, compare=False)

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
    refuse_other(document, "study")
    file = validate(StudyFile, document)
    return _study(file, document, folder, changes or {})


def quick_study(
    base: str | Path,
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
    named = name or f"{_as_id(Path(base).stem)}-sweep"
    data = {
        "name": named,
        "base": str(base),
        "vary": {key: list(values) for key, values in vary.items()},
        "seeds": seeds,
    }
    document = Document(json.loads(json.dumps(data)), "--vary", {})
    return _study(validate(StudyFile, document), document, None, set or {})


def _as_id(text: str) -> str:
    """Return a text with nothing in it that an id may not have, short enough for something behind it."""
    return re.sub("[^a-z0-9._-]+", "-", text.lower())[:MAX_NAME].lstrip("._-") or "study"


def shipped_studies() -> tuple[str, ...]:
    """Return the names of the studies in the package, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def template(name: str) -> str:
    """Return a commented study file of this name, which can be swept as it stands, for a user to change.

    Raises:
        InputError: the name is not an id.
    """
    return TEMPLATE.read_text(encoding="utf-8").replace("{name}", own_id(name))


def _find(source: str | Path) -> tuple[Path, Path | None]:
    known = shipped_studies()
    if str(source) in known:
        return FOLDER / f"{source}.yaml", None
    path = Path(source)
    if path.is_file():
        return path, path.resolve().parent
    hint = f"shipped studies: {', '.join(known)}{near_file(path) or did_you_mean(path.stem, known)}"
    raise InputError(Problem(f"no such file, and no shipped study of this name; {hint}", str(source)))


def _study(file: StudyFile, document: Document, folder: Path | None, changes: Mapping[str, Any]) -> Study:
    check_file(file, document, changes)
    base_file, base_folder = _base(file.base, document, folder)
    fixed = {**file.set, **changes}
    varied_values = combinations(file, document)
    base = read_document(base_file)
    refuse_other(base, "scenario")
    seeds = _seeds(file, base, fixed)
    if file.seeds != 1:  # a part of the seed that is set is where repetitions start from
        fixed = {key: value for key, value in fixed.items() if key.partition(".")[0] != "seed"}
    width = max(3, len(str(len(varied_values) * len(seeds))))
    cases = [
        Case(
            id=f"{number:0{width}d}",
            varied=varied,
            seed=seed.training,
            overrides=tuple(_override(key, value) for key, value in {**fixed, **varied, **repeated}.items()),
        )
        for number, (varied, seed) in enumerate(itertools.product(varied_values, seeds), start=1)
        for repeated in [_repetition(seed) if file.seeds != 1 else {}]
    ]
    first = dict[tuple[str, ...], Case]()
    twins = [(case, other) for case in cases if (other := first.setdefault(case.overrides, case)) is not case]
    refuse_twins(twins, document.file)
    factors = dict.fromkeys(key for varied in varied_values for key in varied)
    return Study(
        name=file.name,
        label=file.label,
        metrics=file.metrics,
        target_perplexity=None if file.target is None else file.target.perplexity,
        base=base,
        base_folder=base_folder,
        factors=tuple(factors),
        cases=tuple(cases),
        places=_places(file, document, changes),
    )


def refuse_twins(twins: Sequence[tuple[Case, Case]], file: str, hint: str = "") -> None:
    """Raise InputError where cases are the same as others: each with the one that it is."""
    if twins:
        told = "; ".join(f"{case} is {other}" for case, other in twins[:MAX_TOLD])
        more = f"; and {len(twins) - MAX_TOLD:,} more" if len(twins) > MAX_TOLD else ""
        raise InputError(Problem(f"the same case is asked for twice: {told}{more}{hint}", file))


def _places(file: StudyFile, document: Document, changes: Mapping[str, Any]) -> dict[str, Place]:
    """Return where each key is set or varied, those apart that the command line sets."""
    sections: dict[KeyPath, Mapping[str, Any]] = {("set",): file.set, ("vary",): file.vary, ("zip",): file.zip}
    sections |= {("cases", number): case for number, case in enumerate(file.cases or ())}
    found = [(key, document.problem("", (*path, key))) for path, keys in sections.items() for key in keys]
    return {key: (document.file, place.line) for key, place in reversed(found) if key not in changes}


def _base(base: str, document: Document, folder: Path | None) -> tuple[Path, Path | None]:
    """Return a scenario's file as the study's file means it, relative to itself where there is one, and its folder.

    Raises:
        InputError: there is no such scenario.
    """
    try:
        return find(base, folder)
    except InputError as error:
        if folder is None:
            raise
        raise InputError(*(document.problem(problem.message, ("base",), base) for problem in error.problems)) from None


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
                found.setdefault((problem.key, problem.message), []).append((case, _placed(study, problem)))
    if found:
        raise InputError(*(_blamed(places) for places in found.values()))


def _placed(study: Study, problem: Problem) -> Problem:
    """Return a problem with what a case changes, at the place where the study asks for that."""
    if problem.file == SOURCE and problem.key is not None:
        for key, (file, line) in study.places.items():
            if f"{problem.key}.".startswith(f"{key}.") or f"{key}.".startswith(f"{problem.key}."):
                return replace(problem, file=file, line=line)
    return problem


def _blamed(places: Sequence[tuple[Case, Problem]]) -> Problem:
    """Return a problem that names the first of the cases that have it, and how many more do."""
    case, problem = places[0]
    more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
    return Problem(f"{problem.message} [{case}{more}]", problem.file, problem.line, problem.key, problem.value)
