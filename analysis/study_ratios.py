"""Ratios by pairs, for what differs by more from fleet to fleet than from setting to setting.

The picture is as wide as both columns of a paper.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.labels import short_labels, short_labels_of
from analysis.study_frame import METRICS, labels_of, setting_keys, study_frame, with_keys, words_of
from analysis.study_plots import COLUMN_IN, POINTS
from analysis.style import CLIENT_COLOURS, GRID, INK, plain
from simulator.records.studies import StudyRecords

ROW_IN, AROUND_IN = 0.1, 0.7
MARKERS = "os^"


def paired_ratios(frame: pd.DataFrame, metric: str, by: Sequence[str]) -> pd.DataFrame:
    """Return a metric of each case over that of the case which equals it in all but the last key of `by`.

    The last key's first value is what others are compared with; its own ratios are 1.

    Returns:
        A row for each value of `by`, in order: the columns of `by`, and the geometric mean, `low` and `high` (the
        extremes) of its ratios over seeds and over whatever else varies.

    Raises:
        ValueError: there is no key, or a case has no counterpart or several, or a value is not above 0.
    """
    if not by:
        raise ValueError("ratios need --by: a key whose first value the others are compared with")
    *groups, key = by
    settings = setting_keys(frame)
    texts = frame.assign(**{name: labels_of(frame, [name]) for name in settings})
    if texts[key].nunique() < 2:
        raise ValueError(f"all cases have the same {key}, {texts[key].iloc[0]!r}: there is nothing to compare it with")
    others = ["seed", *(name for name in settings if name != key)]
    if texts.duplicated([*others, key]).any():
        raise ValueError(f"cases differ in more than {key!r}: some have several counterparts")
    # A pivot leaves out what is unknown throughout, hence the first condition.
    table = texts.pivot_table(index=others, columns=key, values=metric).reindex(columns=texts[key].unique())
    if not bool((texts[metric] > 0).all()) or bool(table.isna().any(axis=None)):
        raise ValueError(f"{metric} is not known, or not above 0, for every pair of cases: there are no ratios")
    divided = table.div(table.iloc[:, 0], axis="index").reset_index()
    ratios = divided.melt(id_vars=others, var_name=key, value_name="ratio")
    grouped = ratios.groupby([*groups, key], sort=False)["ratio"]
    result = grouped.agg(mean=lambda values: float(np.exp(np.log(values).mean())), low="min", high="max")
    order = texts[list(by)].drop_duplicates()
    return order.merge(result.reset_index(), on=list(by)).reset_index(drop=True)


def ratios(study: StudyRecords, *, y: str, by: Sequence[str]) -> Figure:
    """Draw a metric relative to that of the first value of the last key, in equal cases; a colour for each group.

    Args:
        study: with finished cases.
        y: one of `METRICS`.
        by: keys of the scenario; those before the last one make groups.

    Raises:
        ValueError: there is no such metric or key, or the cases make no pairs.
    """
    if y not in METRICS:
        raise ValueError(f"--y: expected {', '.join(METRICS)}, got '{y}'")
    found = paired_ratios(with_keys(study, study_frame(study), by), y, by)
    *groups, key = by
    values = list(found[key].unique())
    short = dict(zip(values, short_labels(values), strict=True))
    found = found[found[key] != values[0]]
    names = short_labels_of(found, groups)
    rows = {value: row for row, value in enumerate(found[key].unique())}
    num_groups = names.nunique()
    height = max(COLUMN_IN[1], AROUND_IN + ROW_IN * len(rows) * max(num_groups, 1))
    figure = Figure(figsize=(2 * COLUMN_IN[0], height), layout="constrained")
    axes = figure.add_subplot()
    for place, name in enumerate(names.unique()):
        part = found[names == name]
        at = part[key].map(rows) + (place - (num_groups - 1) / 2) * 0.8 / num_groups
        colour = CLIENT_COLOURS[place % len(CLIENT_COLOURS)]
        axes.hlines(at, part["low"], part["high"], color=colour, linewidth=1.2)
        marker = MARKERS[place // len(CLIENT_COLOURS) % len(MARKERS)]
        axes.scatter(part["mean"], at, s=12, color=colour, marker=marker, label=name)
    axes.axvline(1.0, color=INK, linewidth=0.8, zorder=0)
    axes.set_yticks(list(rows.values()), [short[value] for value in rows])
    axes.invert_yaxis()
    plain(axes)
    axes.grid(color=GRID, linewidth=0.5, axis="x")
    axes.tick_params(labelsize=POINTS - 1)
    axes.set_xlabel(f"{words_of(y)} over that of {short[values[0]]}", fontsize=POINTS)
    axes.set_ylabel(key, fontsize=POINTS)
    if groups:
        figure.legend(*axes.get_legend_handles_labels(), title=", ".join(groups), fontsize=POINTS - 1,
                      title_fontsize=POINTS - 1, frameon=False, loc="outside right upper")  # fmt: skip
    return figure
