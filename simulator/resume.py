"""Going on with a run that was interrupted: what it was made of, and whether that is still the same.

A resume executes the clock from 0 once more, which is cheap and gives the same times; tasks that the run has finished
are answered from its own results. That holds only while scenario, hardware, data and the machine that computes are what
they were, so anything else is refused, with the first difference.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.problems import InputError, Problem, shown
from simulator.scenario import UNIDENTIFYING, Scenario, to_mapping

RESTORE = "restore what it was, or start a new run"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a run's inputs were on the machine that started it.

    Attributes:
        working_folder: relative paths start from it.
        scenario_file, overrides: what the scenario was read from; None and none for a shipped one and for plain data.
        scenario_folder: the scenario's own folder; None for a shipped one.
        catalogue: folders with the user's own profiles.
    """

    working_folder: Path
    scenario_file: Path | None
    scenario_folder: Path | None
    overrides: tuple[str, ...]
    catalogue: tuple[Path, ...]

    @classmethod
    def of(cls, scenario: Scenario, catalogue: Sequence[Path]) -> "Origin":
        """Return where the inputs of a run that starts now are."""
        return cls(
            working_folder=Path.cwd(),
            scenario_file=scenario.file,
            scenario_folder=scenario.folder,
            overrides=scenario.overrides,
            catalogue=tuple(path.absolute() for path in catalogue),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "working_folder": str(self.working_folder),
            "scenario_file": None if self.scenario_file is None else str(self.scenario_file),
            "scenario_folder": None if self.scenario_folder is None else str(self.scenario_folder),
            "overrides": list(self.overrides),
            "catalogue": [str(path) for path in self.catalogue],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Origin":
        """Return the origin of `to_json`."""
        file, folder = plain["scenario_file"], plain["scenario_folder"]
        return cls(
            working_folder=Path(plain["working_folder"]),
            scenario_file=None if file is None else Path(file),
            scenario_folder=None if folder is None else Path(folder),
            overrides=tuple(plain["overrides"]),
            catalogue=tuple(Path(path) for path in plain["catalogue"]),
        )


def recorded_origin(meta: Mapping[str, Any], folder: Path) -> Origin:
    """Return where a run's inputs were, from its run.json.

    Raises:
        InputError: run.json does not say.
    """
    try:
        return Origin.from_json(meta["host"]["origin"])
    except (KeyError, TypeError):
        raise InputError(Problem("does not say where the run's inputs are", str(folder / "run.json"))) from None


def recorded_scenario(meta: Mapping[str, Any], origin: Origin, folder: Path) -> Scenario:
    """Return the scenario of an interrupted run.

    Raises:
        InputError: run.json holds none, or the user's file that it was read from has changed since.
    """
    recorded = meta.get("scenario")
    if not isinstance(recorded, Mapping):
        raise InputError(Problem("holds no scenario", str(folder / "run.json")))
    scenario = Scenario.from_mapping(recorded, folder=origin.scenario_folder)
    if origin.scenario_file is not None and origin.scenario_file.exists():
        now = Scenario.load(origin.scenario_file, origin.overrides)
        difference = first_difference(_identity(scenario), _identity(now))
        if difference is not None:
            raise _changed(folder, difference, str(origin.scenario_file))
    return scenario


def refuse_changes(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise InputError where a run's head, as `manifest.describe` gives it, is not what it was when the run began."""
    plain = json.loads(json.dumps(dict(now)))
    difference = _numerics_difference(before.get("numerics"), plain["numerics"])
    if difference is None and before.get("fingerprint") != plain["fingerprint"]:
        difference = first_difference(_made_of(before), _made_of(plain))
        if difference is None:  # not in what the run is made of, but in how that is digested
            difference = Difference(key="fingerprint", before=before.get("fingerprint"), now=plain["fingerprint"])
    if difference is not None:
        raise _changed(folder, difference)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first key whose value is another, and both values."""

    key: str
    before: object
    now: object


def first_difference(before: object, now: object, key: str = "") -> Difference | None:
    """Return the first difference between plain data, depth first and in the order of keys; None where there is none.

    An entry of a list that has an `id` is named by it. What only one side has is missing on the other: None.
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        parts = [(str(name), before.get(name), now.get(name)) for name in {**before, **now}]
    elif isinstance(before, list) and isinstance(now, list):
        length = max(len(before), len(now))
        padded = ([*side, *[None] * (length - len(side))] for side in (before, now))
        parts = [(_entry(place, a), a, b) for place, (a, b) in enumerate(zip(*padded, strict=True))]
    else:
        return None if before == now else Difference(key=key, before=before, now=now)
    found = (first_difference(a, b, f"{key}.{name}" if key else name) for name, a, b in parts)
    return next((difference for difference in found if difference is not None), None)


def _made_of(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the fingerprint digests."""
    return {part: head.get(part) for part in ("scenario", "hardware", "content")}


def _entry(place: int, value: object) -> str:
    return str(value["id"]) if isinstance(value, Mapping) and "id" in value else str(place)


def _identity(scenario: Scenario) -> dict[str, Any]:
    return {key: value for key, value in to_mapping(scenario).items() if key not in UNIDENTIFYING}


def _numerics_difference(before: object, now: object) -> Difference | None:
    """Return the first part in which two names of machine and software differ."""
    if before == now:
        return None
    if not isinstance(before, str) or not isinstance(now, str):
        return Difference(key="numerics", before=before, now=now)
    parts = zip(before.split("; "), now.split("; "), strict=False)
    first = next(((a, b) for a, b in parts if a != b), (before, now))
    return Difference(key="numerics", before=first[0], now=first[1])


def _changed(folder: Path, difference: Difference, file: str | None = None) -> InputError:
    key, before, now = difference.key, shown(difference.before), shown(difference.now)
    message = f"was {before} when the run in {folder} began and is {now} now: {RESTORE}"
    return InputError(Problem(message, file, key=key, value=difference.now))
