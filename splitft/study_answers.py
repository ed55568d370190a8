"""What the commands do that ask runs and studies for answers: compare, table, and the shipped studies."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import typer
from rich.table import Table

from analysis.comparison import Comparison, Setting, compare
from analysis.statistics import Difference, main_effects, pareto_front
from analysis.study_frame import HIGHER_IS_BETTER, METRICS, TARGET_METRICS, over_seeds, study_frame, with_keys
from analysis.study_tables import (
    ENDINGS,
    EXACT,
    FORMATS,
    TEXT_FORMATS,
    printed,
    save_table,
    summarised,
    with_text_keys,
    with_unit,
)
from devices.problems import InputError, Problem, did_you_mean
from simulator.records.runs import RunRecords
from simulator.records.studies import StudyRecords
from simulator.study import FOLDER, load_study, shipped_studies
from splitft.answers import told, writing
from splitft.api import load_run
from splitft.run_folders import find_run, find_study
from splitft.show import console, is_terminal, table
from splitft.studies import SweptStudy, load_swept, shown_metrics
from splitft.study_closing import heading, shown

TERMINAL = "terminal"  # what a table is printed as where people read it
UNPAIRED = (
    "± half of the 95 % interval over seeds of each row alone; `splitft compare` goes by pairs, which tells more apart"
)
COMPARED = ("simulated_s", "sent_bytes", "energy_j", "loss", "perplexity", "token_accuracy", "mean_cut")


def compare_runs(names: Sequence[str], *, by: Sequence[str], metrics: Sequence[str], target: float | None) -> None:
    """Print in what runs differ, and what came of it."""
    runs = [run for name in names for run in _runs(name)]
    if len(runs) < 2:
        raise InputError(Problem(f"name at least two finished runs, or a study of two: there is {len(runs) or 'none'}"))
    _check_metrics(metrics)
    with told():
        found = compare(runs, by, target)
    if len(found.settings) < 2:
        raise InputError(Problem(f"all {len(runs)} runs are of one setting, but for their seeds: nothing to compare"))
    console().print(_configurations(found))
    chosen = [*(metrics or COMPARED), *(["followed_s"] if target is not None else [])]
    for setting in found.settings[1:]:
        if found.pairs(setting):
            console().print(_outcomes(found, setting, chosen))
        else:
            console().print(_without_pairs(found, setting), markup=False)


def print_table(
    name: str,
    *,
    kind: str | None,
    by: Sequence[str],
    metrics: Sequence[str],
    effects: str | None,
    pareto: Sequence[str],
    out: Path | None,
) -> None:
    """Write a table of a study to a file, or print it: for people on a terminal, else as Markdown."""
    kind = _format(kind, out)
    asked = [option for option, given in (("--by", by), ("--effects", effects), ("--pareto", pareto)) if given]
    if len(asked) > 1 or (metrics and {*asked} - {"--by"}):
        others = [*asked, *(["--metrics"] if metrics else [])]
        raise InputError(Problem(f"{' and '.join(others)} make different tables: ask for one of them"))
    swept = finished_study(name)
    _check_metrics([*metrics, *pareto, *([effects] if effects is not None else [])], swept.records)
    with told():
        result = _answer(swept, kind, by=by, metrics=metrics, effects=effects, pareto=pareto)
    if kind in {"markdown", "latex", TERMINAL}:
        result = with_text_keys(result, [*by, *swept.records.factors])
    if kind == TERMINAL:
        text = printed(result)
        console().print(table([*map(str, text)], text.to_numpy().tolist(), caption=UNPAIRED if by else ""))
    elif out is None:
        typer.echo(TEXT_FORMATS[kind](result), nl=False)
    else:
        with writing(out):
            save_table(result, kind, out)
        if by:
            typer.echo(f"For its caption: {UNPAIRED}")


def _format(kind: str | None, out: Path | None) -> str:
    """Return in which format a table is wanted: one that is asked for, that of the file's ending, or the terminal's."""
    if kind is None and out is not None:
        kind = ENDINGS.get(out.suffix.lower())
        if kind is None:
            known = ", ".join(ENDINGS)
            raise InputError(Problem(f"expected a name that ends in {known}, or --format; got '{out}'", key="--out"))
    if kind is None:
        return TERMINAL if is_terminal() else "markdown"
    if kind not in FORMATS:
        raise InputError(
            Problem(f"expected {', '.join(FORMATS)}, got '{kind}'{did_you_mean(kind, FORMATS)}", key="--format")
        )
    if kind == "parquet" and out is None:
        raise InputError(Problem("parquet needs a file", key="--out"))
    return kind


def _answer(
    swept: SweptStudy,
    kind: str,
    *,
    by: Sequence[str],
    metrics: Sequence[str],
    effects: str | None,
    pareto: Sequence[str],
) -> pd.DataFrame:
    """Return the table that is asked for: of every case, or one of those that an option names."""
    frame, keys = study_frame(swept.records), ["case", "seed", *swept.records.factors]
    if effects is not None:
        found = main_effects(frame, swept.records.factors, effects)
        return found if kind in EXACT else with_unit(found, effects, ["low", "high"])
    if by:
        return summarised(with_keys(swept.records, frame, by), by, metrics or shown_metrics(swept.records))
    if pareto:
        settings = over_seeds(frame, pareto)
        return settings.assign(pareto=pareto_front(settings, pareto, HIGHER_IS_BETTER))
    if kind in EXACT and not metrics:
        return frame
    return frame[[*keys, *(metrics or shown_metrics(swept.records))]]


def list_studies() -> None:
    """Print the shipped studies."""
    rows = [(name, len(load_study(name).cases), load_study(name).label) for name in shipped_studies()]
    console().print(table(["study", "cases", "what it asks"], rows))


def show_study(name: str) -> None:
    """Print the file of a shipped study, to start one's own from."""
    if name not in shipped_studies():
        known = shipped_studies()
        raise InputError(Problem(f"no shipped study '{name}'; there are {', '.join(known)}{did_you_mean(name, known)}"))
    typer.echo((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), nl=False)


def _runs(name: str) -> list[RunRecords]:
    if (study := find_study(name)) is not None:
        with told():
            return [case.run for case in load_swept(study).records.finished]
    return [load_run(find_run(name)).records]


def finished_study(name: str) -> SweptStudy:
    """Return a study, given its folder or its name in `studies/`, of which some case is finished."""
    folder = find_study(name)
    if folder is None:
        raise InputError(Problem(f"{name}: no such study folder", value=name))
    swept = load_swept(folder)
    if not swept.records.finished:
        raise InputError(Problem(f"{folder}: no case of this study is finished"))
    return swept


def _check_metrics(names: Sequence[str], study: StudyRecords | None = None) -> None:
    known = [*METRICS, *(TARGET_METRICS if study is not None and study.meta["target_perplexity"] is not None else ())]
    for name in names:
        if name not in known:
            raise InputError(Problem(f"no metric '{name}'; there are {', '.join(known)}{did_you_mean(name, known)}"))


def _configurations(found: Comparison) -> Table:
    headings = ["key", *(setting.label for setting in found.settings)]
    rows = [(key, *values) for key, values in found.differing.items()]
    return table(headings, rows, title="In what they differ")


def _outcomes(found: Comparison, setting: Setting, metrics: Sequence[str]) -> Table:
    baseline, num_pairs = found.settings[0], len(found.pairs(setting))
    known = [(metric, found.difference(setting, metric)) for metric in metrics]
    rows = [
        (
            heading(metric),
            shown(metric, baseline.mean(metric)),
            shown(metric, setting.mean(metric)),
            _signed(metric, difference.mean),
            _interval(metric, difference),
            difference.num_pairs if difference.num_pairs == num_pairs else f"{difference.num_pairs} of {num_pairs}",
            difference.num_seeds,
        )
        for metric, difference in known
        if difference is not None
    ]
    headings = ["", baseline.label, setting.label, "difference", "95 % interval", "pairs", "seeds"]
    caption = "differences of pairs that are equal in all else; over seeds; * the interval leaves out 0"
    title, optional = f"{setting.label} against {baseline.label}", ["seeds", "pairs", baseline.label, setting.label]
    return table(headings, rows, title=title, caption=caption, optional=optional)


def _without_pairs(found: Comparison, setting: Setting) -> str:
    names, others = f"{setting.label} against {found.settings[0].label}", found.hindrances(setting)
    told = f"{names}: no two runs are equal in all else, so there is nothing to compare"
    return f"{told}; they differ in {', '.join(others)}, too (--by takes several keys)" if others else told


def _interval(metric: str, difference: Difference) -> str:
    if difference.low is None or difference.high is None:
        return "one seed: unknown"
    mark = " *" if difference.is_significant else ""
    low, high = _signed(metric, difference.low), _signed(metric, difference.high)
    return f"{low} to {high} ({difference.method}){mark}"


def _signed(metric: str, value: float) -> str:
    return f"{'-' if value < 0 else '+'}{shown(metric, abs(value))}"
