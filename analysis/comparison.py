"""Runs beside each other: in what their scenarios differ, and then in what they came out differently."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.statistics import Difference, paired_difference
from analysis.study_frame import outcome, scenario_value
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
    """

    settings: tuple[Setting, ...]
    differing: Mapping[str, tuple[str, ...]]

    def pairs(self, setting: Setting) -> list[Pair]:
        """Return what a setting's runs and the baseline's have in common, for those that have a counterpart."""
        return [pair for pair in setting.outcomes if pair in self.settings[0].outcomes]

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


def compare(runs: Sequence[RunRecords], by: str | None = None, target_perplexity: float | None = None) -> Comparison:
    """Return what tells runs apart.

    Args:
        runs: finished ones, the baseline first.
        by: key of the scenario whose values are compared, pairs being equal in all else; None to compare whole
            scenarios, pairs having the same seed.
        target_perplexity: adds when it was reached.

    Raises:
        ValueError: no scenario has the key `by`, or two runs of a setting are the same.
    """
    if by is not None and all(scenario_value(run, by) is None for run in runs):
        raise ValueError(f"no scenario of these runs has the key {by!r}")
    flat = [dict(flattened(run.meta["scenario"])) for run in runs]
    keys = list(dict.fromkeys(key for scenario in flat for key in scenario))
    differing = [key for key in keys if len({scenario.get(key) for scenario in flat}) > 1]
    grouped = _grouped(runs, flat, differing, by)
    values = {
        key: tuple(
            " | ".join(dict.fromkeys(str(flat[place].get(key, "-")) for place in group.values()))
            for group in grouped.values()
        )
        for key in differing
        if _section(key) not in UNCOMPARED
    }
    firsts = [flat[next(iter(group.values()))] for group in grouped.values()]
    labels = _short_labels(list(grouped), firsts, [key for key in differing if _is_compared(key, by)], by)
    settings = [
        Setting(label=label, outcomes={pair: outcome(runs[place], target_perplexity) for pair, place in group.items()})
        for label, group in zip(labels, grouped.values(), strict=True)
    ]
    told_apart = {key: texts for key, texts in values.items() if len(set(texts)) > 1}
    return Comparison(settings=tuple(settings), differing=told_apart)


def _grouped(
    runs: Sequence[RunRecords], flat: Sequence[Mapping[str, str]], differing: Sequence[str], by: str | None
) -> dict[str, dict[Pair, int]]:
    """Return the places of the runs of each setting, by what pairs them with runs of others."""
    compared = [key for key in differing if _is_compared(key, by)]
    others = [key for key in differing if key not in compared and _section(key) not in UNCOMPARED]
    seeds, rest = ([key for key in others if (_section(key) == "seed") == is_seed] for is_seed in (True, False))
    grouped: dict[str, dict[Pair, int]] = {}
    for place, (run, scenario) in enumerate(zip(runs, flat, strict=True)):
        pair = _text(scenario, seeds), _text(scenario, rest)
        group = grouped.setdefault(_label(run, scenario, compared, by), {})
        if pair in group:
            other = runs[group[pair]]
            raise ValueError(f"{run.folder} and {other.folder} are runs of the same scenario: leave one of them out")
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


def _is_compared(key: str, by: str | None) -> bool:
    """Return whether a key makes another setting, rather than another pair."""
    if by is None:
        return _section(key) not in {*UNCOMPARED, "seed"}  # another seed is another repetition
    section, _, last = by.rpartition(".")
    # Another kind of a section has other keys beside it.
    family = section if last == "kind" or by in {"fleet.mixture", "fleet.clients"} else by
    return key == family or key.startswith(f"{family}.")


def _label(run: RunRecords, scenario: Mapping[str, str], compared: Sequence[str], by: str | None) -> str:
    if by is not None:
        value = scenario_value(run, by)
        return f"{by}={'-' if value is None else value}"
    return _text(scenario, compared) or str(run.meta["scenario"]["name"])


def _short_labels(
    labels: Sequence[str], firsts: Sequence[Mapping[str, str]], compared: Sequence[str], by: str | None
) -> list[str]:
    """Return labels without what goes with another kind of a section: of equal kinds, what they differ in."""
    if by is not None and any(by in scenario for scenario in firsts):
        return list(labels)  # a plain value is short
    shown = [[key for key in compared if key in one and _tells(key, one, firsts)] for one in firsts]
    if by is None:
        return [_text(one, keys) or label for one, keys, label in zip(firsts, shown, labels, strict=True)]
    return [
        _section_label(by, one, keys) if keys else label for one, keys, label in zip(firsts, shown, labels, strict=True)
    ]


def _tells(key: str, scenario: Mapping[str, str], others: Iterable[Mapping[str, str]]) -> bool:
    """Return whether a key tells a scenario from others whose section has the same kind."""
    kind = f"{key.rpartition('.')[0]}.kind"
    return any(
        other.get(key) != scenario[key] and (key == kind or other.get(kind) == scenario.get(kind)) for other in others
    )


def _section_label(by: str, scenario: Mapping[str, str], keys: Sequence[str]) -> str:
    if keys == [f"{by}.kind"]:
        return f"{by}={scenario[keys[0]]}"
    told = ", ".join(f"{key.removeprefix(by + '.')}: {scenario[key]}" for key in keys)
    return f"{by}={{{told}}}"


def _text(scenario: Mapping[str, str], keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={scenario[key]}" for key in keys if key in scenario)
