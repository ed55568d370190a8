"""What the commands do that ask runs and studies for answers: compare, table, plot, and the shipped studies."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import typer
from rich.table import Table

from analysis.comparison import Comparison, Setting, compare
from analysis.statistics import Difference, main_effects, pareto_front
from analysis.study_frame import HIGHER_IS_BETTER, METRICS, TARGET_METRICS, over_seeds, study_frame, with_keys
from analysis.study_tables import FORMATS, TEXT_FORMATS, save_table, summarised, with_text_keys
from devices.problems import InputError, Problem, did_you_mean
from simulator.records.runs import RunRecords
from simulator.records.studies import StudyRecords
from simulator.study import FOLDER, load_study, shipped_studies
from splitft.answers import told, writing
from splitft.api import load_run
from splitft.run_folders import find_run, find_study
from splitft.show import console, table
from splitft.studies import SweptStudy, load_swept, shown_metrics
from splitft.study_closing import heading, shown

PICTURES = ("curve", "front", "ratios", "interaction")  # of a study
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
    kind: str,
    by: Sequence[str],
    metrics: Sequence[str],
    effects: str | None,
    pareto: Sequence[str],
    out: Path | None,
) -> None:
    """Write a table of a study to a file, or print it."""
    if kind not in FORMATS:
        raise InputError(
            Problem(f"expected {', '.join(FORMATS)}, got '{kind}'{did_you_mean(kind, FORMATS)}", key="--format")
        )
    if kind == "parquet" and out is None:
        raise InputError(Problem("parquet needs a file", key="--out"))
    asked = [option for option, given in (("--by", by), ("--effects", effects), ("--pareto", pareto)) if given]
    if len(asked) > 1 or (metrics and {*asked} - {"--by"}):
        others = [*asked, *(["--metrics"] if metrics else [])]
        raise InputError(Problem(f"{' and '.join(others)} make different tables: ask for one of them"))
    swept = _study(name)
    _check_metrics([*metrics, *pareto, *([effects] if effects is not None else [])], swept.records)
    with told():
        result = _answer(swept, kind, by=by, metrics=metrics, effects=effects, pareto=pareto)
    if kind in {"markdown", "latex"}:
        result = with_text_keys(result, [*by, *swept.records.factors])
    if out is not None:
        with writing(out):
            save_table(result, kind, out)
    else:
        typer.echo(TEXT_FORMATS[kind](result), nl=False)


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
        return main_effects(frame, swept.records.factors, effects)
    if by:
        return summarised(with_keys(swept.records, frame, by), by, metrics or shown_metrics(swept.records))
    if pareto:
        settings = over_seeds(frame, pareto)
        return settings.assign(pareto=pareto_front(settings, pareto, HIGHER_IS_BETTER))
    if kind in {"csv", "parquet"} and not metrics:
        return frame
    return frame[[*keys, *(metrics or shown_metrics(swept.records))]]


def draw(name: str, picture: str, *, x: str | None, y: str | None, by: Sequence[str], out: Path) -> None:
    """Write a picture of a run or of a study to a file."""
    if find_study(name) is None:
        if x is not None or y is not None or by:
            raise InputError(Problem("pictures of one run have their axes: --x, --y and --by are for studies"))
        with told():
            figure = load_run(find_run(name)).plot(picture)
            with writing(out):
                figure.savefig(out)
        return
    from analysis.study_interactions import interactions
    from analysis.study_plots import curves, front, save_figure  # imports matplotlib
    from analysis.study_ratios import ratios

    swept = _study(name)
    with told():
        if picture == "curve":
            figure = curves(swept.records, x=x or "time_s", y=y or "perplexity", by=by)
        elif picture == "front":
            figure = front(swept.records, x=x or "simulated_s", y=y or "perplexity", by=by)
        elif picture == "ratios":
            figure = ratios(swept.records, y=y or "simulated_s", by=by)
        elif picture == "interaction":
            if x is None:
                raise InputError(Problem("an interaction needs a key of the scenario to go along", key="--x"))
            figure = interactions(swept.records, x=x, y=y or "simulated_s", by=by)
        else:
            hint = did_you_mean(picture, PICTURES)
            raise InputError(Problem(f"a study has the pictures {', '.join(PICTURES)}, not '{picture}'{hint}"))
        with writing(out):
            save_figure(figure, out)


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


def _study(name: str) -> SweptStudy:
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
    return table(headings, rows, title=f"{setting.label} against {baseline.label}", caption=caption)


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
