"""Pictures of a study, in the size of a column of a paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.frames import evaluations
from analysis.statistics import by_seed, half_width, pareto_front
from analysis.study_frame import HIGHER_IS_BETTER, METRICS, labels_of, over_seeds, study_frame, with_keys
from analysis.style import CLIENT_COLOURS, GRID, INK, Unit, byte_unit, line_look, plain, time_unit
from simulator.records.runs import RunRecords
from simulator.records.studies import StudyRecords

COLUMN_IN = (3.35, 2.4)  # a column of a paper of two
POINTS = 8  # its caption's size
NUM_POINTS = 200
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
    """

    x: Floats
    mean: Floats
    half: Floats


def band(curves: Sequence[tuple[Floats, Floats]], seeds: Sequence[int] | None = None) -> Band:
    """Return the mean of curves with Student's 95 % interval over seeds, where all of them are known.

    Curves of one seed, where seeds are given, are averaged first. Between their points curves are straight. Curves with
    the same x keep it; others are read at 200 places from where the last begins to where the first ends.

    Raises:
        ValueError: there is no such stretch.
    """
    first = curves[0][0]
    if all(np.array_equal(first, x) for x, _ in curves):
        places = first
    else:
        low, high = max(float(x[0]) for x, _ in curves), min(float(x[-1]) for x, _ in curves)
        if low > high:
            raise ValueError("these runs have no stretch in common: the longest begins after the shortest has ended")
        places = np.linspace(low, high, NUM_POINTS)
    values = by_seed(np.array([np.interp(places, x, y) for x, y in curves]), seeds)
    half = np.array([half_width(column) for column in values.T])
    return Band(x=places, mean=values.mean(axis=0), half=half)


def curve_of(run: RunRecords, x: str, y: str) -> tuple[Floats, Floats]:
    """Return the held-out evaluations of a run as a curve."""
    evals = evaluations(run)
    return evals[x].to_numpy(dtype=np.float64), evals[y].to_numpy(dtype=np.float64)


def curves(study: StudyRecords, *, x: str, y: str, by: Sequence[str] = ()) -> Figure:
    """Draw how a measurement went in each setting: mean over its runs, and the 95 % band over them.

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
        for label, cases in frame.groupby(labels_of(frame, by), sort=False)
    }
    unit = unit_of(x, max(float(found.x[-1]) for found in bands.values()))
    figure = Figure(figsize=COLUMN_IN, layout="constrained")
    axes = figure.add_subplot()
    for place, (label, found) in enumerate(bands.items()):
        colour, style = line_look(place)
        at, low, high = found.x / unit.size, found.mean - found.half, found.mean + found.half
        axes.plot(at, found.mean, color=colour, linestyle=style, linewidth=1.2, label=label)
        axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
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
    labels = labels_of(frame, by)
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


def save_figure(figure: Figure, file: Path) -> None:
    """Write a figure; the name's ending says in which of `FORMATS`. Equal figures give equal files.

    Raises:
        ValueError: it says another one.
    """
    kind = file.suffix.removeprefix(".").lower()
    _refuse_others("-o", kind, FORMATS)
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    # Text that can be searched and edited: conferences refuse Type 3 fonts.
    with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "splitft"}):
        figure.savefig(file, dpi=300, metadata=undated)


def dress(figure: Figure, x: str, y: str, *, title: str) -> None:
    """Give the axes of a figure in the size of a column their labels, and a legend under a title if there is one."""
    [axes] = figure.axes
    plain(axes)
    axes.tick_params(labelsize=POINTS - 1)
    axes.set_xlabel(x, fontsize=POINTS)
    axes.set_ylabel(y, fontsize=POINTS)
    axes.grid(color=GRID, linewidth=0.5)
    if title:
        axes.legend(title=title, fontsize=POINTS - 1, title_fontsize=POINTS - 1, frameon=False)


def unit_of(name: str, most: float) -> Unit:
    """Return the unit in which values of a metric up to `most` are drawn; 1 for what is no time and no bytes."""
    if name.endswith("_s"):
        return time_unit(most)
    return byte_unit(most) if name.endswith("_bytes") else Unit("", 1.0)


def named(name: str, unit: Unit) -> str:
    """Return what stands at the axis of a metric."""
    words = name.removesuffix("_s").removesuffix("_bytes").replace("_", " ")
    return f"{words} ({unit.name})" if unit.name else words


def _refuse_others(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{option}: expected {', '.join(known)}, got '{value}'")
