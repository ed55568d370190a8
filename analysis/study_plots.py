"""Pictures of a study, as wide as a column of a paper."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis.frames import evaluations
from analysis.labels import short_labels_of
from analysis.statistics import by_seed, half_width, pareto_front
from analysis.study_frame import HIGHER_IS_BETTER, METRICS, SHARES, over_seeds, study_frame, with_keys, words_of
from analysis.style import CLIENT_COLOURS, GRID, INK, Unit, byte_unit, line_look, plain, time_unit
from simulator.records.runs import RunRecords
from simulator.records.studies import StudyRecords

COLUMN_IN = (3.35, 2.4)  # a column of a paper of two; a legend comes on top of the height
POINTS = 8  # its caption's size
LABEL_LETTERS = 48  # of a legend's line, which then fits the column
NUM_POINTS = 200
PRINT_DPI = 300
FORMATS = ("pdf", "png", "svg")

CURVE_X = ("time_s", "sent_bytes", "round")
CURVE_Y = ("perplexity", "loss", "token_accuracy")

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Band:
    """A mean curve and its 95 % interval.

    Attributes:
        x, mean: of the curve.
        half: half of the interval's height; NaN where there is a single seed.
        ends: x at which a curve ended, each place once, in order.
    """

    x: Floats
    mean: Floats
    half: Floats
    ends: Floats


def band(curves: Sequence[tuple[Floats, Floats]], seeds: Sequence[int] | None = None) -> Band:
    """Return the mean of curves with Student's 95 % interval over seeds, from where the last begins to the last end.

    A curve that has ended keeps its last value, so that the mean ends at the mean of the last values. Curves of one
    seed, where seeds are given, are averaged first. Between their points curves are straight. Curves with the same x
    keep it; others are read at 200 places.
    """
    first = curves[0][0]
    ends = np.unique([x[-1] for x, _ in curves])
    if all(np.array_equal(first, x) for x, _ in curves):
        places = first
    else:
        places = np.linspace(max(float(x[0]) for x, _ in curves), float(ends[-1]), NUM_POINTS)
    values = by_seed(np.array([np.interp(places, x, y) for x, y in curves]), seeds)
    half = np.array([half_width(column) for column in values.T])
    return Band(x=places, mean=values.mean(axis=0), half=half, ends=ends)


def curve_of(run: RunRecords, x: str, y: str) -> tuple[Floats, Floats]:
    """Return the held-out evaluations of a run as a curve."""
    evals = evaluations(run)
    return evals[x].to_numpy(dtype=np.float64), evals[y].to_numpy(dtype=np.float64)


def curves(study: StudyRecords, *, x: str, y: str, by: Sequence[str] = ()) -> Figure:
    """Draw how a measurement went in each setting: mean over its runs, and the 95 % band over their seeds.

    A dot marks where a run has ended: from there on it counts with its last value.

    Args:
        study: with finished cases.
        x: one of `CURVE_X`.
        y: one of `CURVE_Y`.
        by: keys of the scenario that tell settings apart; none draws all runs as one.

    Raises:
        ValueError: there is no such axis or key, or nothing was learned.
    """
    _refuse_others("--x", x, CURVE_X)
    _refuse_others("--y", y, CURVE_Y)
    if not study.finished:
        raise ValueError("no case of this study is finished")
    curve_by_case = {case.id: curve_of(case.run, x, y) for case in study.finished}
    for name, (places, _) in curve_by_case.items():
        if len(places) == 0:
            raise ValueError(f"case {name} has no evaluations: nothing was learned in it")
    frame = with_keys(study, study_frame(study), by)
    bands = {
        label: band([curve_by_case[name] for name in cases["case"]], cases["seed"].tolist())
        for label, cases in frame.groupby(short_labels_of(frame, by), sort=False)
    }
    unit = unit_of(x, max(float(found.x[-1]) for found in bands.values()))
    figure = Figure(figsize=COLUMN_IN, layout="constrained")
    axes = figure.add_subplot()
    for place, (label, found) in enumerate(bands.items()):
        colour, style = line_look(place)
        at, ends = found.x / unit.size, found.ends / unit.size
        axes.plot(at, found.mean, color=colour, linestyle=style, linewidth=1.2, label=label)
        axes.fill_between(at, *possible(y, found.mean, found.half), color=colour, alpha=0.2, linewidth=0)
        axes.plot(ends, np.interp(ends, at, found.mean), color=colour, linestyle="", marker="o", markersize=2.5)
    if x == "round":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    dress(figure, named(x, unit), y.replace("_", " "), title=", ".join(by))
    return figure


def front(study: StudyRecords, *, x: str, y: str, by: Sequence[str] = ()) -> Figure:
    """Draw every setting by two metrics, means over seeds, and the line of those that nothing beats.

    See `statistics.pareto_front`.

    Raises:
        ValueError: there is no such metric or key, or it is unknown in every case.
    """
    _refuse_others("--x", x, tuple(METRICS))
    _refuse_others("--y", y, tuple(METRICS))
    frame = over_seeds(with_keys(study, study_frame(study), by), [x, y])
    frame = frame.assign(best=pareto_front(frame, [x, y], HIGHER_IS_BETTER))
    frame = frame[np.isfinite(frame[[x, y]].to_numpy(dtype=np.float64)).all(axis=1)]
    unit_x, unit_y = (unit_of(name, float(frame[name].max())) for name in (x, y))
    labels = short_labels_of(frame, by)
    best = frame[frame["best"]].sort_values(x)
    figure = Figure(figsize=COLUMN_IN, layout="constrained")
    axes = figure.add_subplot()
    axes.step(
        best[x] / unit_x.size,
        best[y] / unit_y.size,
        where="pre" if x in HIGHER_IS_BETTER else "post",
        color=INK,
        linewidth=0.8,
        zorder=1,
    )
    for place, label in enumerate(labels.unique()):
        points = frame[labels == label]
        colour = CLIENT_COLOURS[place % len(CLIENT_COLOURS)]
        axes.scatter(points[x] / unit_x.size, points[y] / unit_y.size, s=12, color=colour, label=label, zorder=2)
    dress(figure, named(x, unit_x), named(y, unit_y), title=", ".join(by))
    return figure


def save_figure(figure: Figure, file: Path, dots_per_inch: int | None = None) -> None:
    """Write a figure; the name's ending says in which of `FORMATS`. Equal figures give equal files.

    Args:
        figure: any.
        file: to be written.
        dots_per_inch: of a PNG; by default as many as journals ask for.

    Raises:
        ValueError: it says another one.
    """
    kind = file.suffix.removeprefix(".").lower()
    _refuse_others("-o", kind, FORMATS)
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    # Text that can be searched and edited: conferences refuse Type 3 fonts.
    with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "splitft"}):
        figure.savefig(file, dpi=dots_per_inch or PRINT_DPI, metadata=undated)


def possible(metric: str, mean: Floats, half: Floats) -> tuple[Floats, Floats]:
    """Return the ends of intervals, cut off where no value can be: below 0, and of a share above 1."""
    return np.clip(mean - half, 0.0, None), np.clip(mean + half, None, 1.0 if metric in SHARES else None)


def dress(figure: Figure, x: str, y: str, *, title: str) -> None:
    """Give the axes of a figure as wide as a column their labels, and a legend under a title if there is one."""
    [axes] = figure.axes
    plain(axes)
    axes.tick_params(labelsize=POINTS - 1)
    axes.set_xlabel(x, fontsize=POINTS)
    axes.set_ylabel(y, fontsize=POINTS)
    axes.grid(color=GRID, linewidth=0.5)
    if title:
        _legend_above(figure, title)


def _legend_above(figure: Figure, title: str) -> None:
    """Put a legend above the axes, where it covers no data, in as many columns as fit; the figure grows by it."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    folded = [textwrap.fill(label, LABEL_LETTERS) for label in labels]
    for num_columns in range(min(len(labels), 4), 0, -1):
        legend = figure.legend(
            handles, folded, title=title, loc="outside upper left", ncols=num_columns, fontsize=POINTS - 1,
            title_fontsize=POINTS - 1, alignment="left", handlelength=1.5, columnspacing=1.2, frameon=False,
        )  # fmt: skip
        extent = legend.get_window_extent()
        if extent.width <= figure.bbox.width or num_columns == 1:
            figure.set_figheight(figure.get_figheight() + extent.height / figure.dpi)
            return
        legend.remove()


def unit_of(name: str, most: float) -> Unit:
    """Return the unit in which values of a metric up to `most` are drawn; 1 for what is a number alone."""
    if name.endswith("_s"):
        return time_unit(most)
    if name.endswith("_j"):
        return Unit("J", 1.0)
    return byte_unit(most) if name.endswith("_bytes") else Unit("", 1.0)


def named(name: str, unit: Unit) -> str:
    """Return what stands at the axis of a metric."""
    return f"{words_of(name)} ({unit.name})" if unit.name else words_of(name)


def _refuse_others(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{option}: expected {', '.join(known)}, got '{value}'")
