"""One row for each finished case of a study: what was varied, and how it came out. All in base units."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import evaluations
from analysis.metrics import num_cut_changes, time_to_perplexity
from simulator.records.behind import value_at
from simulator.records.runs import RunRecords
from simulator.records.studies import CaseRecords, StudyRecords

Metric = Callable[[RunRecords], float]


def _last(column: str) -> Metric:
    def last(run: RunRecords) -> float:
        values = evaluations(run)[column]
        return float(values.iloc[-1]) if len(values) else np.nan

    return last


def _sum(*columns: str) -> Metric:
    return lambda run: float(
        run.rounds[list(columns)].astype(float).sum(axis="columns", skipna=False).sum(skipna=False)
    )


def _simulated_s(run: RunRecords) -> float:
    return float(run.rounds["end_s"].max()) if len(run.rounds) else 0.0


def _best_perplexity(run: RunRecords) -> float:
    return float(evaluations(run)["perplexity"].min())


def _mean_cut(run: RunRecords) -> float:
    return float(run.clients["cut"].mean())


def _counted_frac(run: RunRecords) -> float:
    return float((run.clients["status"] == "finished").mean())


def _trained_parameters(*sides: str) -> Metric:
    """Return the mean over clients and rounds of how many parameters are trained for a client."""

    def mean(run: RunRecords) -> float:
        rows = run.meta.get("trained_parameters", [])  # runs of before 0.2 do not say
        by_cut = {int(row["cut"]): sum(row[side] for side in sides) for row in rows}
        return float(run.clients["cut"].map(by_cut).mean())

    return mean


METRICS: Mapping[str, tuple[Metric, str]] = {
    "simulated_s": (_simulated_s, "simulated seconds until the last round ended"),
    "up_bytes": (_sum("up_bytes"), "bytes from clients to the server"),
    "down_bytes": (_sum("down_bytes"), "bytes from the server to clients"),
    "sent_bytes": (_sum("up_bytes", "down_bytes"), "bytes both ways"),
    "energy_j": (_sum("energy_j"), "joules of the clients' devices; empty where unknown"),
    "loss": (_last("loss"), "held-out loss at the end, nats a token"),
    "perplexity": (_last("perplexity"), "held-out perplexity at the end"),
    "best_perplexity": (_best_perplexity, "the lowest held-out perplexity"),
    "token_accuracy": (_last("token_accuracy"), "share of held-out tokens predicted first, at the end"),
    "trained_parameters": (_trained_parameters("client", "server"), "parameters trained for a client, both sides"),
    "client_parameters": (_trained_parameters("client"), "parameters that a client trains itself"),
    "mean_cut": (_mean_cut, "blocks on the client, mean over clients and rounds"),
    "num_cut_changes": (lambda run: float(num_cut_changes(run)), "how often a client's cut changed"),
    "counted_frac": (_counted_frac, "share of clients' rounds whose work counted"),
}
HIGHER_IS_BETTER = ("token_accuracy", "counted_frac")  # of others, where they are weighed against each other, lower
SHARES = ("token_accuracy", "counted_frac")  # from 0 to 1; no metric is below 0
DEFAULT_METRICS = ("simulated_s", "sent_bytes", "perplexity")
TARGET_METRICS = ("target_s", "target_bytes")

KEYS = ("case", "seed")
TARGET_COLUMNS = ("target_reached", "target_s", "target_bytes", "followed_s")


WORDS = {"simulated_s": "simulated time", "sent_bytes": "bytes sent", "up_bytes": "sent up", "down_bytes": "sent down"}


def words_of(name: str) -> str:
    """Return a metric's name as words, without its unit."""
    return WORDS.get(name) or re.sub(r"_(s|bytes|j)$", "", name).replace("_", " ")


def study_frame(study: StudyRecords) -> pd.DataFrame:
    """Return a tidy frame of all finished cases, in order.

    Columns: `case`, `seed` (that of training), the varied keys, every one of `METRICS`, and where the study has a
    target: `target_reached`, `target_s` and `target_bytes` (empty where it was never reached), and `followed_s`: until
    when the run was watched for it, which is `target_s` or the run's end.

    Raises:
        RunFolderError: the folder of a run cannot be read.
    """
    cases = study.finished
    varied = {factor: column([_varied(case, factor) for case in cases]) for factor in study.factors}
    columns = {"case": [case.id for case in cases], "seed": [case.seed for case in cases], **varied}
    outcomes = [outcome(case.run, study.meta["target_perplexity"]) for case in cases]
    return pd.concat([pd.DataFrame(columns), pd.DataFrame(outcomes, columns=None if cases else [*METRICS])], axis=1)


def _varied(case: CaseRecords, factor: str) -> Any:
    """Return the value of a varied key in a case: of one that it does not vary, what its scenario says."""
    return plain(case.varied[factor]) if factor in case.varied else scenario_value(case.run, factor)


def column(cells: Sequence[Any]) -> pd.Series:
    """Return the cells of a key as a column: as they are where all are of a type, else as text; None stays."""
    types = {type(cell) for cell in cells if cell is not None}
    if len(types) > 1 and types != {int, float}:
        cells = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
    return pd.Series(cells, dtype=object if None in cells else None)


def setting_keys(frame: pd.DataFrame) -> list[str]:
    """Return the columns that are keys of the scenario."""
    return [str(name) for name in frame if name not in {*METRICS, *TARGET_COLUMNS, *KEYS}]


def labels_of(frame: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Return for each case what tells its setting from others, as text."""
    cells = zip(*(frame[key] for key in by), strict=True) if by else [()] * len(frame)
    return pd.Series([", ".join("-" if cell is None else str(cell) for cell in row) for row in cells], frame.index)


def over_seeds(frame: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return one row for each setting, that is for cases which differ in their seeds alone, in order of appearance.

    Another seed is another draw of everything, so that cases of different seeds are not to be held against each other.
    Columns: the keys of the scenario, `num_seeds`, and the means of metrics; NaN where one of them is unknown.
    """
    settings = setting_keys(frame)
    groups = frame.groupby([labels_of(frame, [name]) for name in settings], sort=False) if settings else [((), frame)]
    rows = [
        {name: cases[name].iloc[0] for name in settings}
        | {"num_seeds": len(cases)}
        | {metric: float(cases[metric].astype(float).mean(skipna=False)) for metric in metrics}
        for _, cases in groups
    ]
    return pd.DataFrame(rows)


def outcome(run: RunRecords, target_perplexity: float | None = None) -> dict[str, float]:
    """Return every metric of a run and, where there is a target, when it was reached."""
    numbers = {name: metric(run) for name, (metric, _) in METRICS.items()}
    if target_perplexity is None:
        return numbers
    reached = time_to_perplexity(run, target_perplexity)
    time_s, sent_bytes = reached.time_s, reached.sent_bytes
    return numbers | {
        "target_reached": time_s is not None,
        "target_s": np.nan if time_s is None else time_s,
        "target_bytes": np.nan if sent_bytes is None else float(sent_bytes),
        "followed_s": numbers["simulated_s"] if time_s is None else time_s,
    }


def plain(value: Any) -> Any:
    """Return a value of a scenario as a cell: a section or list as text on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) + "}"
    return json.dumps(value) if isinstance(value, list | tuple) else value


def scenario_value(run: RunRecords, key: str) -> Any:
    """Return what a run's scenario says at a dotted key, as a cell; None where it says nothing."""
    return plain(value_at(run.meta["scenario"], key))


def with_keys(study: StudyRecords, frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return the frame with a column for each key of the scenario that it lacks.

    Raises:
        ValueError: no run has such a key; the text names the varied ones.
    """
    runs = {case.id: case.run for case in study.finished}
    for key in keys:
        if key not in frame:
            cells = [scenario_value(runs[case], key) for case in frame["case"]]
            if all(cell is None for cell in cells):
                raise ValueError(f"no scenario of this study has the key {key!r}; varied: {', '.join(study.factors)}")
            frame = frame.assign(**{key: column(cells).to_numpy()})
    return frame
