"""A scenario: everything that a run depends on, as one frozen value, read strictly from YAML.

The keys of its file, their defaults and the rules between them stand in `simulator.sections`; this module reads, writes
and identifies the whole.
"""

import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML

from devices.file_kinds import refuse_other
from devices.problems import InputError, Problem, did_you_mean
from devices.pydantic_errors import problems_of
from devices.strict_yaml import Document, read_document, validate
from devices.values import own_id
from simulator.overrides import apply_overrides, parse_overrides
from simulator.sections.costs import CostsSection
from simulator.sections.dataset import DatasetSection
from simulator.sections.fields import STRICT, Count, Id, Positive, agreeing
from simulator.sections.machines import (
    EvaluationSection,
    ExecutionSection,
    FleetSection,
    Seeds,
    SeedSection,
    ServerSection,
)
from simulator.sections.network import MovesSection, NetworkSection
from simulator.sections.participation import AllSelection, Availability, CatalogueAvailability, Selection
from simulator.sections.policy import FixedPolicy, PerDevicePolicy, Policy, SplitFTPolicy
from simulator.sections.protocol import Protocol, SflV1Protocol
from simulator.sections.workload import WorkloadSection
from simulator.source import Source

__all__ = [
    "FixedPolicy",
    "PerDevicePolicy",
    "Scenario",
    "SplitFTPolicy",
    "fingerprint_payload",
    "shipped",
    "template",
    "to_mapping",
    "to_yaml",
]

FOLDER = Path(__file__).parent / "scenarios"
TEMPLATE = FOLDER / "new.yaml.template"

# Sections of several kinds, and which is meant where a file does not say.
DEFAULT_KINDS = {
    ("protocol",): "sfl-v1",
    ("policy",): "splitft",
    ("workload", "partition"): "length-dirichlet",
    ("selection",): "all",
    ("availability",): "catalogue",
    ("costs", "jitter"): "lognormal",
    ("costs", "throttle"): "heat",
}

# What says nothing about the result: names, and how a machine does the work.
UNIDENTIFYING = ("name", "label", "execution")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ScenarioFile:
    """What a scenario file may say. Every key but `fleet` has a default.

    Attributes:
        name: Names the run's folder.
        label: Free text for people.
        seed: Where randomness starts.
        rounds: How many rounds are run.
        stop_at_s: No round starts at or after so many simulated seconds; None runs all rounds.
        workload: What is trained, on what, and how.
        fleet: Who takes part.
        server: The server's hardware.
        network: How connections are shared and vary.
        moves: What moving a cut sends.
        protocol: Who does what in a round.
        policy: Who holds how many blocks.
        selection: Which clients take part in a round.
        availability: When clients can be reached.
        costs: What the clock charges beyond the plain cost model.
        evaluation: What the experimenter measures.
        execution: How this machine does the work.
    """

    name: Id = "scenario"
    label: str = ""
    seed: Seeds = SeedSection()
    rounds: Count = 8
    stop_at_s: Positive | None = None
    workload: WorkloadSection = WorkloadSection()
    fleet: FleetSection
    server: ServerSection = ServerSection()
    network: NetworkSection = NetworkSection()
    moves: MovesSection = MovesSection()
    protocol: Protocol = SflV1Protocol()
    policy: Policy = SplitFTPolicy()
    selection: Selection = AllSelection()
    availability: Availability = CatalogueAvailability()
    costs: CostsSection = CostsSection()
    evaluation: EvaluationSection = EvaluationSection()
    execution: ExecutionSection = ExecutionSection()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        trains = self.execution.trainer == "torch"
        timed = "can be timed (execution.trainer: cost-only) but not"
        return agreeing(
            self,
            (
                # float16 gradients underflow without loss scaling, which the trainer does not do.
                trains and self.workload.dtype == "float16",
                "workload.dtype",
                f"{timed} trained; train in float32 or bfloat16",
            ),
            (
                trains and not isinstance(self.workload.dataset, DatasetSection),
                "workload.dataset.source",
                f"{timed} learned from: there is no text",
            ),
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Scenario(ScenarioFile):
    """A scenario file's content, and where it came from; the latter is no part of its identity.

    Attributes:
        folder: Where the file lies, and with it the user's own catalogue and data; None for a shipped scenario.
        notes: What overrides left out, one line each.
        file: The user's file that it was read from; None for a shipped scenario and for plain data.
        overrides: What was changed in that file, as `KEY=VALUE`.
        source: Where each value stands; None for plain data.
    """

    folder: Path | None = dataclasses.field(default=None, compare=False)
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    file: Path | None = dataclasses.field(default=None, compare=False)
    overrides: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    source: Source | None = dataclasses.field(default=None, compare=False, repr=False)

    @classmethod
    def load(cls, source: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Return a shipped scenario, by name, or that of a YAML file.

        Args:
            source: A name of `shipped()`, or a path.
            overrides: `key=value` texts, such as `workload.batch_size=8`; values are YAML.

        Raises:
            InputError: There is no such scenario, or something in it or in the overrides cannot be used; every
                problem is named.
        """
        path, folder = find(source)
        document = read_document(path)
        refuse_other(document, "scenario")
        scenario = cls.of(document, overrides, folder=folder, name=str(source))
        return dataclasses.replace(scenario, file=None if folder is None else folder / path.name)

    @classmethod
    def of(
        cls, document: Document, overrides: Sequence[str] = (), *, folder: Path | None, name: str | None = None
    ) -> Self:
        """Return the scenario of a file that has been read already, with overrides.

        Args:
            document: The file's content.
            overrides: As in `load`.
            folder: Where the user's own catalogue and data are; None for a shipped scenario.
            name: What the user called it; None takes the document's file.

        Raises:
            InputError: As `load`.
        """
        changes = parse_overrides(overrides)
        changed, notes = apply_overrides(document, changes)
        called = document.file if name is None else name
        place = Source(document=changed, overrides=changes, name=called, is_shipped=folder is None)
        try:
            scenario = cls._checked(changed, folder=folder, notes=notes)
        except InputError as error:
            raise place.blame(error) from None
        return dataclasses.replace(scenario, overrides=tuple(overrides), source=place)

    def placing_problems(self) -> AbstractContextManager[None]:
        """Return a context in which problems that know only their key get file and line, or the override to blame."""
        return nullcontext() if self.source is None else self.source.placing()

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], folder: Path | None = None) -> Self:
        """Return the scenario of plain data, as `to_mapping` gives it or a YAML file holds it.

        Raises:
            InputError: With every problem.
        """
        return cls._checked(Document(dict(mapping), "scenario", {}), folder=folder)

    @classmethod
    def _checked(cls, document: Document, *, folder: Path | None, notes: tuple[str, ...] = ()) -> Self:
        content = validate(ScenarioFile, _with_kinds(document))
        values = {field.name: getattr(content, field.name) for field in dataclasses.fields(ScenarioFile)}
        return cls(**values, folder=folder, notes=notes)

    @model_validator(mode="wrap")
    @classmethod
    def _told(cls, values: Any, build: Callable[[Any], Self]) -> Self:
        """Tell whoever calls the constructor what is wrong in the words that the writer of a file is told."""
        try:
            return build(values)
        except ValidationError as error:
            raise InputError(*problems_of(error, cls, "Scenario", {})) from None


@cache
def shipped() -> tuple[str, ...]:
    """Return the names of the scenarios in the package, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def template(name: str) -> str:
    """Return a commented scenario file of this name, with every key at its default, for a user to change.

    Raises:
        InputError: The name is not an id.
    """
    return TEMPLATE.read_text(encoding="utf-8").replace("{name}", own_id(name))


def to_mapping(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as plain data: dicts, lists, text, numbers and true or false, defaults written out.

    A key whose value is None is left out; each such key defaults to None. `from_mapping` gives back an equal scenario.
    """
    plain = _plain({field.name: getattr(scenario, field.name) for field in dataclasses.fields(ScenarioFile)})
    assert isinstance(plain, dict)
    return plain


def to_yaml(scenario: Scenario) -> str:
    """Return a scenario as the text of a file that loads as an equal one."""
    yaml = YAML(typ="safe", pure=True)
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed as None, meant as a bool
    yaml.width = 200
    stream = io.StringIO()
    plain = to_mapping(scenario)
    # Written as they are, these end a line of YAML and are read back as spaces.
    yaml.allow_unicode = not any(mark in json.dumps(plain, ensure_ascii=False) for mark in "\x85\u2028\u2029")
    yaml.dump(plain, stream)
    return stream.getvalue()


def fingerprint_payload(scenario: Scenario) -> str:
    """Return what identifies a scenario as canonical JSON: all of it but name, label and execution.

    Ids of devices, networks and fleets stand in it as ids; a run adds the numbers and content behind them.
    """
    identity = {key: value for key, value in to_mapping(scenario).items() if key not in UNIDENTIFYING}
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def find(source: str | Path, beside: Path | None = None) -> tuple[Path, Path | None]:
    """Return the file of a scenario, and the folder in which a user's own files lie; None for a shipped one.

    Args:
        source: its name or path.
        beside: a folder that paths are relative to, before the working folder.

    Raises:
        InputError: There is no such scenario.
    """
    if isinstance(source, str) and source in shipped():
        return FOLDER / f"{source}.yaml", None
    if not str(source):
        raise InputError(Problem("expected the name of a shipped scenario or of a YAML file, got ''"))
    places = [Path(source)] if beside is None else [beside / source, Path(source)]
    for path in places:
        with suppress(OSError):  # such as a name that is too long
            if path.is_dir():
                raise InputError(Problem("is a folder; name the YAML file in it", str(source)))
            if path.exists():
                return path, path.resolve().parent
    near = near_file(places[0]) or did_you_mean(Path(source).stem, shipped())
    known = f"shipped scenarios: {', '.join(shipped())}{near}"
    raise InputError(Problem(f"no such file, and no shipped scenario of this name; {known}", str(source)))


def near_file(path: Path) -> str:
    """Return `; did you mean 'mine.yaml'?` where only the ending of a file's name is missing or another; or nothing."""
    endings = (".yaml", ".yml")
    names = [f"{path.name}{ending}" for ending in endings] + [f"{path.stem}{ending}" for ending in endings]
    with suppress(OSError, ValueError):  # a name that no file can have
        return next((f"; did you mean '{name}'?" for name in names if path.with_name(name).is_file()), "")
    return ""


def _with_kinds(document: Document) -> Document:
    """Return the document with the default kind in each section of several kinds that does not name one."""
    data = dict(document.data)
    for path, kind in DEFAULT_KINDS.items():
        holder: dict[str, Any] = data
        for part in path:
            if not isinstance(holder.get(part), dict):
                break
            holder[part] = dict(holder[part])
            holder = holder[part]
        else:
            holder.setdefault("kind", kind)
    return dataclasses.replace(document, data=data)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
