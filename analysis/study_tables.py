"""Tables of a study for a paper or another program: means over seeds with 95 % intervals, or every case."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.statistics import by_seed, half_width, time_to_target
from analysis.study_frame import METRICS, TARGET_COLUMNS, column, words_of

LATEX_ESCAPES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    character: rf"\{character}" for character in "&%$#_{}"
}
SIGNIFICANT = 4
MB = 1e6
UNITS = {"_s": " (s)", "_bytes": " (MB)", "_j": " (J)"}


def _unit(name: str) -> str:
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")


def _size(name: str) -> float:
    return MB if name.endswith("_bytes") else 1.0


# Columns that are no keys of the scenario, as people read them.
HEADINGS = {
    name: words_of(name.removeprefix("num_")) + _unit(name)
    for name in (*METRICS, *TARGET_COLUMNS, "num_cases", "num_seeds", "num_reached", "target_median_s")
}


def summarised(frame: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Return one row for each combination of values of the keys `by`, in order of appearance.

    Columns: the keys, `num_cases`, for each metric `<metric>` (mean) and `<metric>_pm` (half of Student's 95 % interval
    of the mean over seeds, cases of one seed being averaged first; empty for a single seed). Where the frame has a
    target: `num_reached`, and `target_median_s`, by which half of the cases have reached it (Kaplan-Meier; empty where
    fewer did).

    Raises:
        ValueError: there is no such column.
    """
    _require(frame, [*by, *metrics])
    groups = frame.groupby(list(by), sort=False, dropna=False) if by else [((), frame)]
    rows, settings = [], []
    for _, group in groups:
        settings.append(group.iloc[0])
        row: dict[str, object] = {"num_cases": len(group)}
        for metric in metrics:
            numbers = by_seed(group[metric].to_numpy(dtype=np.float64), group["seed"].tolist())
            row |= {metric: float(numbers.mean()), f"{metric}_pm": half_width(numbers)}
        if "target_reached" in frame:
            found = time_to_target(group["followed_s"].tolist(), group["target_reached"].tolist())
            median_s = math.nan if found.median_s is None else found.median_s
            row |= {"num_reached": found.num_reached, "target_median_s": median_s}
        rows.append(row)
    keys = {key: column([setting[key] for setting in settings]) for key in by}
    return pd.concat([pd.DataFrame(keys), pd.DataFrame(rows)], axis="columns")


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text: four significant digits, `mean ± half` in one column where both are known; MB."""
    text = pd.DataFrame(index=table.index)
    for name in _columns(table):
        halves = table[f"{name}_pm"] if f"{name}_pm" in table else [math.nan] * len(table)
        size = _size(name) if name in HEADINGS else 1.0
        cells = [_cell(value, half, size) for value, half in zip(table[name], halves, strict=True)]
        text[HEADINGS.get(name, name)] = cells
    return text


def _columns(table: pd.DataFrame) -> list[str]:
    """Return the names of columns, without those of intervals beside their means."""
    names = [str(name) for name in table]
    return [name for name in names if not (name.endswith("_pm") and name.removesuffix("_pm") in names)]


def with_unit(table: pd.DataFrame, metric: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table whose columns hold values of a metric, for people: with its unit, bytes in MB."""
    scaled = table.assign(**{name: table[name] / _size(metric) for name in columns})
    return scaled.rename(columns={name: name + _unit(metric) for name in columns})


def with_text_keys(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return a table in which values of keys of the scenario are text: they are names, not measurements to round."""
    text = table.copy()
    for key in keys:
        if key in table:
            text[key] = [None if value is None else str(value) for value in table[key]]
    return text


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table as GitHub's Markdown."""
    text = printed(table)
    lines = [list(text.columns), ["---"] * text.shape[1], *text.to_numpy().tolist()]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def to_latex(table: pd.DataFrame) -> str:
    """Return a table as LaTeX with rules of the package booktabs; numbers are aligned to the right."""
    text = printed(table)
    columns = "".join("r" if pd.api.types.is_numeric_dtype(table[name]) else "l" for name in _columns(table))
    lines = [[_latex(str(name)) for name in text.columns]]
    lines += [[_latex(cell) for cell in line] for line in text.to_numpy().tolist()]
    head, *body = [f"{' & '.join(line)} \\\\" for line in lines]
    parts = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(parts) + "\n"


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV, numbers in full."""
    return table.to_csv(index=False, lineterminator="\n")


TEXT_FORMATS: Mapping[str, Callable[[pd.DataFrame], str]] = {"markdown": to_markdown, "latex": to_latex, "csv": to_csv}
FORMATS = (*TEXT_FORMATS, "parquet")
EXACT = ("csv", "parquet")  # for programs: numbers in full and in base units
ENDINGS = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".parquet": "parquet"}


def save_table(table: pd.DataFrame, kind: str, file: Path) -> None:
    """Write a table in one of `FORMATS`."""
    if kind == "parquet":
        table.to_parquet(file, index=False)
    else:
        file.write_text(TEXT_FORMATS[kind](table), encoding="utf-8")


def _require(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in frame]
    if missing:
        known = [name for name in (*METRICS, *TARGET_COLUMNS) if name in frame]
        raise ValueError(f"no column {missing[0]!r}; metrics are {', '.join(known)}")


def _cell(value: object, half: float, size: float = 1.0) -> str:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return "-"
    if not isinstance(value, float | np.floating):
        return str(value)
    mean = _number(float(value) / size)
    return mean if math.isnan(half) else f"{mean} ± {_number(half / size, 2)}"


def _number(value: float, digits: int = SIGNIFICANT) -> str:
    """Return a number with so many significant digits, never with an exponent."""
    if value == 0 or math.isinf(value):
        return "0" if value == 0 else "inf"  # a loss beyond all bounds
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def _latex(text: str) -> str:
    escaped = "".join(LATEX_ESCAPES.get(character, character) for character in text)
    return escaped.replace("±", r"$\pm$")
