"""Runs beside each other: in what their scenarios differ, and then in what they came out differently."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.labels import tells
from analysis.statistics import Difference, paired_difference
from analysis.study_frame import outcome, scenario_value
from simulator.records.behind import Behind, behind
from simulator.records.runs import RunRecords

# What makes neither another setting nor another pair: names, and how a machine did the work.
UNCOMPARED = ("name", "label", "execution")


Pair = tuple[str, str]
"""What two runs have in common that are compared: their seed, and whatever else they are equal in."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Runs that differ in their seeds alone, or in what they are not compared by.

    Attributes:
        label: what tells it from the other settings.
        outcomes: every metric of each run, by what pairs it with a run of another setting: its seed, and the rest.
    """

    label: str
    outcomes: Mapping[Pair, Mapping[str, float]]

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over its runs."""
        values = [numbers[metric] for numbers in self.outcomes.values()]
        return sum(values) / len(values)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Settings, the first of which is the baseline of the others.

    Attributes:
        settings: in the order of their first runs.
        differing: keys of scenarios by which settings differ, each with its value in every setting; ` | ` between
            several. What varies alike in all of them, as seeds do, is not among these.
        compared: those of these keys that make a setting; a pair of runs is equal in the others.
    """

    settings: tuple[Setting, ...]
    differing: Mapping[str, tuple[str, ...]]
    compared: tuple[str, ...]

    def pairs(self, setting: Setting) -> list[Pair]:
        """Return what a setting's runs and the baseline's have in common, for those that have a counterpart."""
        return [pair for pair in setting.outcomes if pair in self.settings[0].outcomes]

    def hindrances(self, setting: Setting) -> list[str]:
        """Return the keys in which a setting differs from the baseline though it is not compared by them."""
        place = self.settings.index(setting)
        return [key for key, texts in self.differing.items() if key not in self.compared and texts[place] != texts[0]]

    def difference(self, setting: Setting, metric: str) -> Difference | None:
        """Return by how much a metric is larger in a setting than in the baseline; None without a pair of numbers."""
        baseline, pairs = self.settings[0].outcomes, self.pairs(setting)
        try:
            return paired_difference(
                [setting.outcomes[pair][metric] for pair in pairs],
                [baseline[pair][metric] for pair in pairs],
                [seed for seed, _ in pairs],
            )
        except ValueError:
            return None


def compare(runs: Sequence[RunRecords], by: Sequence[str] = (), target_perplexity: float | None = None) -> Comparison:
    """Return what tells runs apart.

    Args:
        runs: finished ones, the baseline first.
        by: keys of the scenario whose values are compared, pairs being equal in all else; none to compare whole
            scenarios, pairs having the same seed.
        target_perplexity: adds when it was reached.

    Raises:
        ValueError: no scenario has the key `by`, or two runs of a setting are the same.
    """
    for key in by:
        if all(scenario_value(run, key) is None for run in runs):
            raise ValueError(f"no scenario of these runs has the key {key!r}")
    flat = [
        {**dict(flattened(run.meta["scenario"])), **more} for run, more in zip(runs, _told_behind(runs), strict=True)
    ]
    keys = list(dict.fromkeys(key for scenario in flat for key in scenario))
    differing = [key for key in keys if len({scenario.get(key) for scenario in flat}) > 1]
    compared = tuple(key for key in differing if _is_compared(key, by))
    grouped = _grouped(runs, flat, differing, compared, by)
    values = {
        key: tuple(
            " | ".join(dict.fromkeys(str(flat[place].get(key, "-")) for place in group.values()))
            for group in grouped.values()
        )
        for key in differing
        if _section(key) not in UNCOMPARED
    }
    firsts = [flat[next(iter(group.values()))] for group in grouped.values()]
    labels = _short_labels(list(grouped), firsts, compared, by)
    settings = [
        Setting(label=label, outcomes={pair: outcome(runs[place], target_perplexity) for pair, place in group.items()})
        for label, group in zip(labels, grouped.values(), strict=True)
    ]
    told_apart = {key: texts for key, texts in values.items() if len(set(texts)) > 1}
    return Comparison(settings=tuple(settings), differing=told_apart, compared=compared)


def _told_behind(runs: Sequence[RunRecords]) -> list[dict[str, str]]:
    """Return for each run what stands behind its scenario, where that is another in a run that asks for the same."""
    values = [behind(run.meta) for run in runs]
    found: dict[Behind, set[str]] = defaultdict(set)
    for run_values in values:
        for item, value in run_values.items():
            found[item].add(value)
    told = {item.key for item, different in found.items() if len(different) > 1}
    return [{item.key: value for item, value in run_values.items() if item.key in told} for run_values in values]


def _grouped(
    runs: Sequence[RunRecords],
    flat: Sequence[Mapping[str, str]],
    differing: Sequence[str],
    compared: Sequence[str],
    by: Sequence[str],
) -> dict[str, dict[Pair, int]]:
    """Return the places of the runs of each setting, by what pairs them with runs of others."""
    others = [key for key in differing if key not in compared and _section(key) not in UNCOMPARED]
    seeds, rest = ([key for key in others if (_section(key) == "seed") == is_seed] for is_seed in (True, False))
    grouped: dict[str, dict[Pair, int]] = {}
    for place, (run, scenario) in enumerate(zip(runs, flat, strict=True)):
        pair = _text(scenario, seeds), _text(scenario, rest)
        group = grouped.setdefault(_label(run, scenario, compared, by), {})
        if pair in group:
            other = runs[group[pair]]
            raise ValueError(f"{run.folder} and {other.folder} are the same run: leave one of them out")
        group[pair] = place
    return grouped


def flattened(section: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    """Yield the dotted keys of a scenario and their values as text; a list of plain values is one value."""
    for key, value in section.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield from flattened({str(place): item for place, item in enumerate(value)}, f"{before}{key}.")
        elif isinstance(value, Mapping):
            yield from flattened(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value if isinstance(value, str) else json.dumps(value)


def _section(key: str) -> str:
    return key.partition(".")[0]


def _is_compared(key: str, by: Sequence[str]) -> bool:
    """Return whether a key makes another setting, rather than another pair."""
    if not by:
        return _section(key) not in {*UNCOMPARED, "seed"}  # another seed is another repetition
    return any(_is_within(key, _family(chosen)) for chosen in by)


def _family(chosen: str) -> str:
    """Return the section of which a chosen key is the kind, whose other keys go with it, or the key itself."""
    section, _, last = chosen.rpartition(".")
    return section if last == "kind" or chosen in {"fleet.mixture", "fleet.clients"} else chosen


def _is_within(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")


def _label(run: RunRecords, scenario: Mapping[str, str], compared: Sequence[str], by: Sequence[str]) -> str:
    if by:
        values = {key: scenario_value(run, key) for key in by}
        return ", ".join(f"{key}={'-' if value is None else value}" for key, value in values.items())
    return _text(scenario, compared) or str(run.meta["scenario"]["name"])


def _short_labels(
    labels: Sequence[str], firsts: Sequence[Mapping[str, str]], compared: Sequence[str], by: Sequence[str]
) -> list[str]:
    """Return labels without what goes with another kind of a section: of equal kinds, what they differ in."""
    shown = [[key for key in compared if key in one and tells(key, one, firsts)] for one in firsts]
    if not by:
        return [_text(one, keys) or label for one, keys, label in zip(firsts, shown, labels, strict=True)]
    plain = [any(key in scenario for scenario in firsts) for key in by]
    return [
        ", ".join(
            f"{key}={one.get(key, '-') if is_plain else _short_section(key, one, keys)}"
            for key, is_plain in zip(by, plain, strict=True)
        )
        for one, keys in zip(firsts, shown, strict=True)
    ]


def _short_section(section: str, scenario: Mapping[str, str], keys: Sequence[str]) -> str:
    """Return what tells a section from others: its kind where that is all, or the keys and their values."""
    own = [key for key in keys if _is_within(key, section)]
    if own == [f"{section}.kind"]:
        return scenario[own[0]]
    told = ", ".join(f"{key.removeprefix(f'{section}.')}: {scenario[key]}" for key in own)
    return f"{{{told}}}" if told else scenario.get(f"{section}.kind", "-")


def _text(scenario: Mapping[str, str], keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={scenario[key]}" for key in keys if key in scenario)
