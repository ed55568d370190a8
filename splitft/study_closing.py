"""The table that a sweep closes with."""

import pandas as pd
from rich.table import Table

from analysis.study_frame import words_of
from simulator.records.studies import CaseRecords
from simulator.vary import short
from splitft.show import duration, energy, megabytes, table
from splitft.studies import SweptStudy, shown_metrics

MAX_ROWS = 60


def study_table(swept: SweptStudy) -> Table:
    """Return one line for each case: what was varied, how it came out, and how much of it was remembered."""
    records = swept.records
    metrics, frame = shown_metrics(records), swept.frame().set_index("case")
    steps = {case.id: _steps(case) for case in records.finished}
    rows = [
        (
            case.id,
            *(short(case.varied.get(factor, "")) for factor in records.factors),
            case.seed,
            *(
                shown(name, float(str(frame.loc[case.id, name]))) if case.status == "finished" else "-"
                for name in metrics
            ),
            *(steps.get(case.id, ("-", "-"))),
            case.status,
        )
        for case in records.cases[:MAX_ROWS]
    ]
    computed, remembered = (sum(pair[part] for pair in steps.values()) for part in (0, 1))
    more = f"; {len(records.cases) - MAX_ROWS:,} more cases" if len(records.cases) > MAX_ROWS else ""
    headings = ["case", *records.factors, "seed", *map(heading, metrics), "computed", "remembered", "status"]
    caption = f"training steps: {computed:,} computed, {remembered:,} remembered{more}"
    return table(
        headings,
        rows,
        title=records.meta["label"] or records.name,
        caption=caption,
        optional=["remembered", "computed"],
    )


def heading(metric: str) -> str:
    """Return a metric's name as a heading, without the base unit that its cells do not have."""
    return words_of(metric)


def shown(metric: str, value: float) -> str:
    """Return a metric's value for people; a dash where it is unknown."""
    if value is None or pd.isna(value):
        return "-"
    if metric.endswith("_s"):
        return duration(value)
    if metric.endswith("_bytes"):
        return megabytes(value)
    if metric.endswith("_j"):
        return energy(value)
    return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"


def _steps(case: CaseRecords) -> tuple[int, int]:
    host = case.run.meta["host"]
    return host["num_steps_computed"], host["num_steps_remembered"]
