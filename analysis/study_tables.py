"""Tables of a study for a paper or another program: means over seeds with 95 % intervals, or every case."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.statistics import by_seed, half_width, time_to_target
from analysis.study_frame import METRICS, TARGET_COLUMNS, column

LATEX_ESCAPES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    character: rf"\{character}" for character in "&%$#_{}"
}
SIGNIFICANT = 4


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
    """Return a table of text: four significant digits, `mean ± half` in one column where both are known."""
    text = pd.DataFrame(index=table.index)
    for name in table.columns:
        if name.endswith("_pm") and name.removesuffix("_pm") in table:
            continue
        halves = table[f"{name}_pm"] if f"{name}_pm" in table else [math.nan] * len(table)
        text[name] = [_cell(value, half) for value, half in zip(table[name], halves, strict=True)]
    return text


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
    columns = "".join("r" if pd.api.types.is_numeric_dtype(table[name]) else "l" for name in text.columns)
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


def _cell(value: object, half: float) -> str:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return "-"
    if not isinstance(value, float | np.floating):
        return str(value)
    return _number(float(value)) if math.isnan(half) else f"{_number(float(value))} ± {_number(half, 2)}"


def _number(value: float, digits: int = SIGNIFICANT) -> str:
    """Return a number with so many significant digits, never with an exponent."""
    if value == 0 or math.isinf(value):
        return "0" if value == 0 else "inf"  # a loss beyond all bounds
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def _latex(text: str) -> str:
    escaped = "".join(LATEX_ESCAPES.get(character, character) for character in text)
    return escaped.replace("±", r"$\pm$")
