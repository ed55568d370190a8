"""Interaction plots: what one key does to a metric, by the values of another. Parallel lines do not interact."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.labels import short_labels_of
from analysis.statistics import half_width, is_whole_grid, known_values
from analysis.study_frame import METRICS, study_frame, with_keys
from analysis.study_plots import COLUMN_IN, dress, named, possible, unit_of
from analysis.style import line_look
from simulator.records.studies import StudyRecords

SPREAD = 0.06  # by which lines stand beside each other, so that their intervals can be told apart


def cell_means(frame: pd.DataFrame, x: str, y: str, by: Sequence[str]) -> pd.DataFrame:
    """Return for each combination of values of `by` and `x` the mean of a metric over all else.

    Cells share their seeds, and what a seed does to all of them alike says nothing of how they differ. Intervals are
    therefore of what is left when each seed's mean over the cells is taken off (Cousineau 2005), widened for that by
    sqrt(J / (J - 1)) with J cells (Morey 2008).

    Returns:
        The columns `line` (the values of `by` as text), `x` (its value as text), `mean`, and `half`: half of Student's
        95 % interval over seeds, NaN for a single one; lines and values in order of appearance.

    Raises:
        ValueError: the metric is unknown in some case, or some combination has other cases than another, so that lines
            would differ by what else is varied.
    """
    cells = pd.DataFrame(
        {
            "line": short_labels_of(frame, by),
            "x": short_labels_of(frame, [x]),
            "seed": frame["seed"],
            "value": known_values(frame, y),
        }
    )
    if not is_whole_grid(cells, ["line", "x", "seed"]):
        raise ValueError("an interaction plot needs a whole grid: equally many cases for each combination and seed")
    values = cells.groupby(["line", "x", "seed"], sort=False)["value"].mean().reset_index()
    values["within"] = values["value"] - values.groupby("seed")["value"].transform("mean")
    num_cells = cells["line"].nunique() * cells["x"].nunique()
    widening = math.sqrt(num_cells / (num_cells - 1)) if num_cells > 1 else math.nan

    def half(within: pd.Series) -> float:
        return widening * half_width(within.to_numpy(dtype=np.float64))

    return values.groupby(["line", "x"], sort=False).agg(mean=("value", "mean"), half=("within", half)).reset_index()


def interactions(study: StudyRecords, *, x: str, y: str, by: Sequence[str]) -> Figure:
    """Draw the mean of a metric over the values of a key, a line for each value of other keys.

    Args:
        study: with finished cases, a whole grid in `x` and `by`.
        x: a key of the scenario; its values stand side by side, in order of appearance.
        y: one of `METRICS`.
        by: keys of the scenario. Intervals are cut off where no value can be, as below 0 seconds.

    Raises:
        ValueError: there is no such metric or key, or see `cell_means`.
    """
    if y not in METRICS:
        raise ValueError(f"--y: expected {', '.join(METRICS)}, got '{y}'")
    found = cell_means(with_keys(study, study_frame(study), [x, *by]), x, y, by)
    unit = unit_of(y, float(found["mean"].max()))
    values, lines = list(found["x"].unique()), list(found["line"].unique())
    figure = Figure(figsize=COLUMN_IN, layout="constrained")
    axes = figure.add_subplot()
    for place, line in enumerate(lines):
        part = found[found["line"] == line].set_index("x").loc[values]
        at = np.arange(len(values)) + (place - (len(lines) - 1) / 2) * SPREAD
        mean = part["mean"].to_numpy(dtype=np.float64)
        low, high = possible(y, mean, part["half"].to_numpy(dtype=np.float64))
        colour, style = line_look(place)
        axes.errorbar(
            at, mean / unit.size, [(mean - low) / unit.size, (high - mean) / unit.size], color=colour, linestyle=style,
            linewidth=1.2, elinewidth=0.8, capsize=2, marker="o", markersize=3, label=line,
        )  # fmt: skip
    axes.set_xticks(np.arange(len(values)), values)
    dress(figure, x, named(y, unit), title=", ".join(by))
    _slant_long_labels(figure)
    return figure


def _slant_long_labels(figure: Figure) -> None:
    """Turn the values under the axes where they are wider than their places; the figure grows by as much."""
    [axes] = figure.axes
    figure.draw_without_rendering()
    labels = axes.get_xticklabels()
    if max(label.get_window_extent().width for label in labels) * len(labels) <= axes.bbox.width:
        return
    straight = max(label.get_window_extent().height for label in labels)
    for label in labels:
        label.set(rotation=30, horizontalalignment="right", rotation_mode="anchor")
    figure.draw_without_rendering()
    slanted = max(label.get_window_extent().height for label in labels)
    figure.set_figheight(figure.get_figheight() + (slanted - straight) / figure.dpi)
