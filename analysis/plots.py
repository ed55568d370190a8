"""Pictures of one run: each function returns a matplotlib `Figure`, `save_plots` writes them all."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from analysis.cuts import cuts
from analysis.frames import client_labels, client_totals, evaluations, perplexity_targets, run_name, span_totals
from analysis.metrics import (
    DIRECTIONS,
    MAX_LOSS,
    bytes_by_kind,
    diverged_round,
    mean_client_time,
    time_to_perplexity,
    working_s,
)
from analysis.style import (
    CLIENT_COLOURS,
    GRID,
    INK,
    KIND_STYLES,
    QUIET,
    Unit,
    byte_unit,
    dress,
    evenly,
    fill,
    human_bytes,
    human_time,
    kind_label,
    kind_legend,
    label_rows,
    new_figure,
    number,
    plain,
    save,
    time_unit,
)
from analysis.time_by_round import time_by_round
from analysis.timeline import timeline
from analysis.words import counted
from simulator.records.runs import RunRecords

MAX_MARKERS = 60


def loss_vs_time(run: RunRecords, targets: Sequence[float] | None = None) -> Figure:
    """Draw held-out loss and perplexity against simulated time, with the moments that targets were met.

    Args:
        run: its records.
        targets: perplexities to mark; None: those of the scenario.

    Raises:
        ValueError: the run has no evaluation of the global adapter (cost-only).
    """
    unit = time_unit(float(run.rounds["end_s"].max()))
    return _loss_plot(run, "time_s", unit, "simulated time", targets)


def loss_vs_bytes(run: RunRecords, targets: Sequence[float] | None = None) -> Figure:
    """Draw held-out loss and perplexity against all bytes sent, both ways; else as `loss_vs_time`."""
    unit = byte_unit(float((run.rounds["up_bytes"] + run.rounds["down_bytes"]).sum()))
    return _loss_plot(run, "sent_bytes", unit, "bytes sent, up and down", targets)


def _loss_plot(run: RunRecords, column: str, unit: Unit, quantity: str, targets: Sequence[float] | None) -> Figure:
    evals = evaluations(run)
    if evals.empty:
        raise ValueError("this run has no evaluations of the global adapter: there is no loss to draw")
    figure = new_figure(4.2)
    axes = figure.add_subplot()
    marker = "o" if len(evals) <= MAX_MARKERS else ""
    axes.plot(evals[column] / unit.size, evals["loss"], color=CLIENT_COLOURS[0], linewidth=2, marker=marker)
    own = [frame for _, frame in evaluations(run, "client").groupby("client")]
    for frame in own:
        axes.plot(frame[column] / unit.size, frame["loss"], color="#BBBBBB", linewidth=1, zorder=1)
    asked = perplexity_targets(run) if targets is None else targets
    missed = [target for target in asked if not _mark_target(axes, run, target, column, unit)]
    first, last = evals.iloc[0], evals.iloc[-1]
    spent = human_time(last[column]) if column == "time_s" else human_bytes(last[column])
    subtitle = f"perplexity {number(first['perplexity'])} to {number(last['perplexity'])} in {spent}"
    if (diverged := diverged_round(run)) is not None:
        subtitle = f"diverged in round {diverged}"
    if missed:
        subtitle += f"; not reached: {', '.join(f'{target:g}' for target in missed)}"
    if own:
        subtitle += "; grey: each client on its own validation data"
    dress(axes, f"{run_name(run)}: held-out loss against {quantity}", subtitle)
    axes.set_xlabel(f"{quantity} ({unit.name})", fontsize=11)
    axes.set_ylabel("held-out loss (nats per token)", fontsize=11)
    axes.grid(color=GRID, linewidth=0.6)
    if axes.get_ylim()[1] < MAX_LOSS:
        _perplexity_axis(axes)
    return figure


def _mark_target(axes: Axes, run: RunRecords, target: float, column: str, unit: Unit) -> bool:
    """Mark where a perplexity target was first met; return whether it was."""
    reached = time_to_perplexity(run, target)
    value = reached.time_s if column == "time_s" else reached.sent_bytes
    if value is None:
        return False
    x, loss = value / unit.size, math.log(target)
    axes.axhline(loss, color=QUIET, linewidth=1, linestyle=":", zorder=1)
    axes.axvline(x, color=QUIET, linewidth=1, linestyle=":", zorder=1)
    text = f"perplexity ≤ {target:g} at {number(x)} {unit.name}"
    # The falling curve lies above the target's line on the left of the crossing, and below it on the right.
    early = x < axes.get_xlim()[1] / 2
    offset, place = ((5, 4), ("left", "bottom")) if early else ((-5, -4), ("right", "top"))
    horizontal, vertical = place
    axes.annotate(
        text, (x, loss), offset, textcoords="offset points", ha=horizontal, va=vertical, fontsize=9.5, color=INK
    )
    return True


def _perplexity_axis(axes: Axes) -> None:
    """Label the loss axis with perplexity = exp(loss) on its right: the same line, on a log scale."""
    low, high = (math.exp(loss) for loss in axes.get_ylim())
    ticks = list(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high))
    if high > 5 * low:
        ticks = [digit * 10.0**power for power in range(-1, 300) for digit in (1, 2, 5)]
    right = axes.twinx()
    right.set_yscale("log")
    right.set_ylim(low, high)
    right.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    right.yaxis.set_minor_locator(NullLocator())
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    right.set_ylabel("perplexity (log scale)", fontsize=11)
    right.tick_params(labelsize=10, length=3, colors=INK)
    right.spines["right"].set_color(QUIET)
    right.spines[["top", "bottom", "left"]].set_visible(False)


def client_time(run: RunRecords) -> Figure:
    """Draw where each client's time went: seconds a round by span kind, averaged over the rounds it took part in.

    At most 30 clients are drawn, evenly spaced from the slowest to the fastest; the picture says so.
    """
    seconds = mean_client_time(client_totals(span_totals(run)))
    work = working_s(seconds)
    slowest_first = work.sort_values(ascending=False, kind="stable").index
    shown = slowest_first[evenly(len(slowest_first))]
    unit = time_unit(float(seconds.sum(axis="columns").max()))
    figure = new_figure(2.6 + 0.3 * len(shown))
    axes = figure.add_subplot()
    left = np.zeros(len(shown))
    kinds = [kind for kind in KIND_STYLES if kind in seconds.columns]
    for kind in kinds:
        width = seconds.loc[shown, kind].to_numpy() / unit.size
        axes.barh(range(len(shown)), width, left=left, height=0.72, **fill(kind))
        left += width
    for row, client in enumerate(shown):
        busy = work[client] / seconds.loc[client].sum()
        axes.annotate(f"{busy:.0%}", (left[row], row), (4, 0), textcoords="offset points", va="center", fontsize=9.5)
    labels = client_labels(run)
    label_rows(axes, [labels[client] for client in shown])
    subtitle = "percentages: share of the round until its own work was done"
    if len(shown) < len(work):
        subtitle = f"{len(shown)} of {len(work):,} clients, evenly spaced from the slowest to the fastest\n{subtitle}"
    dress(axes, f"{run_name(run)}: where each client's time went", subtitle)
    axes.set_xlabel(f"mean time per round ({unit.name})", fontsize=11)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    kind_legend(figure, kinds)
    return figure


def bytes_sent(run: RunRecords) -> Figure:
    """Draw the bytes sent by direction and span kind over the whole run."""
    sent = bytes_by_kind(span_totals(run))
    unit = byte_unit(float(sent["num_bytes"].max()))
    total = int(sent["num_bytes"].sum())
    groups = [sent[sent["direction"] == direction] for direction in DIRECTIONS]
    figure = new_figure(2.0 + 0.36 * len(sent))
    rows = figure.subplots(2, 1, sharex=True, height_ratios=[max(len(group), 1) for group in groups])
    for axes, group, direction in zip(rows, groups, DIRECTIONS, strict=True):
        axes.barh(range(len(group)), group["num_bytes"] / unit.size, height=0.72)
        for bar, kind, size in zip(axes.patches, group["kind"], group["num_bytes"], strict=True):
            bar.set(**fill(kind))
            text = f"{human_bytes(size)} ({size / total:.1%})"
            at = (bar.get_width(), bar.get_y() + bar.get_height() / 2)
            axes.annotate(text, at, (4, 0), textcoords="offset points", va="center", fontsize=10)
        axes.set_yticks(range(len(group)), [kind_label(kind) for kind in group["kind"]])
        axes.set_ylim(max(len(group), 1) - 0.4, -0.6)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        plain(axes)
        heading = f"{direction}: {human_bytes(group['num_bytes'].sum())} of {human_bytes(total)}"
        axes.set_title(heading, loc="left", fontsize=10, color=QUIET)
    dress(
        rows[0],
        f"{run_name(run)}: bytes sent in {counted(len(run.rounds), 'round')}",
        rows[0].get_title(loc="left"),
    )
    rows[1].set_xlabel(f"bytes sent ({unit.name})", fontsize=11)
    rows[1].set_xlim(0, 1.25 * sent["num_bytes"].max() / unit.size)
    return figure


PICTURES: dict[str, Callable[[RunRecords], Figure]] = {
    "loss_vs_time": loss_vs_time,
    "loss_vs_bytes": loss_vs_bytes,
    "client_time": client_time,
    "bytes": bytes_sent,
    "cuts": cuts,
    "client_time_by_round": time_by_round,
}
TIMELINE = "timeline_round_"


def picture_names(run: RunRecords) -> list[str]:
    """Return the names of the pictures that this run allows.

    Loss needs evaluations; time and bytes by kind need spans or their sums, a timeline needs spans; pictures of bytes
    need some that were sent; all need a round.
    """
    if run.rounds.empty:
        return []
    unknown = {"loss_vs_time", "loss_vs_bytes"} if evaluations(run).empty else set()
    unknown |= {"client_time", "client_time_by_round", "bytes"} if run.span_detail == "none" else set()
    unknown |= set() if run.rounds[["up_bytes", "down_bytes"]].to_numpy().any() else {"loss_vs_bytes", "bytes"}
    names = [name for name in PICTURES if name not in unknown]
    return [*names, f"{TIMELINE}{run.rounds['round'].max():03d}"] if run.span_detail == "steps" else names


def figure(run: RunRecords, name: str) -> Figure:
    """Return a picture by its name: one of `picture_names`, or `timeline_round_NNN` of any round.

    Raises:
        ValueError: this run has no such picture; the text names those it has.
    """
    number = name.removeprefix(TIMELINE)
    if number != name and number.isdecimal():
        return timeline(run, int(number))
    names = picture_names(run)
    if name not in names:
        raise ValueError(f"this run has no picture {name!r}; it has: {', '.join(names) or 'none'}")
    return PICTURES[name](run)


def save_plots(run: RunRecords, folder: Path) -> list[Path]:
    """Write every picture that this run allows as PNG into a folder (made if needed) and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [save(figure(run, name), folder / f"{name}.png") for name in picture_names(run)]
