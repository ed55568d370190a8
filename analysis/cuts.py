"""The picture of how cuts moved."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.frames import client_labels, run_name
from analysis.metrics import num_cut_changes
from analysis.style import GRID, INK, dress, line_look, new_figure
from analysis.words import counted
from simulator.records.runs import RunRecords

MAX_LINES = 10


def cuts(run: RunRecords) -> Figure:
    """Draw the cut of each client over rounds; for more than 10 clients, how many of them have each cut."""
    last = run.clients.drop_duplicates(["round", "client"], keep="last")  # a client may take several turns in a round
    table = last.set_index(["round", "client"])["cut"].unstack("client")  # noqa: PD010 - it keeps gaps as NaN
    table = table.reindex(range(int(table.index.min()), int(table.index.max()) + 1))
    figure = new_figure(4.2)
    axes = figure.add_subplot()
    if table.shape[1] > MAX_LINES:
        _cut_counts(figure, axes, table)
    else:
        _cut_lines(axes, table, client_labels(run))
    low, high = int(table.min().min()), int(table.max().max())
    axes.set_ylim(low - 0.5, high + 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    subtitle = f"{counted(num_cut_changes(run), 'change')} of a cut in {counted(len(run.rounds), 'round')}"
    if 1 < table.shape[1] <= MAX_LINES:
        subtitle += "; lines of equal cuts are drawn side by side"
    dress(axes, f"{run_name(run)}: cut of each client over rounds", subtitle)
    axes.set_xlabel("round", fontsize=11)
    axes.set_ylabel("cut (decoder blocks on the client)", fontsize=11)
    return figure


def _cut_lines(axes: Axes, table: pd.DataFrame, labels: dict[int, str]) -> None:
    """Draw one line a client, moved apart a little where cuts are equal, with its label at its end."""
    count = table.shape[1]
    gap = min(0.07, 0.7 / count)
    edges = np.append(table.index - 0.5, table.index[-1] + 0.5)
    ends: list[tuple[float, str, str]] = []
    for place, client in enumerate(table.columns):
        offset = gap * ((count - 1) / 2 - place)
        colour, style = line_look(place)
        axes.stairs(table[client] + offset, edges, baseline=None, color=colour, linewidth=2, linestyle=style)
        ends.append((table[client].dropna().iloc[-1] + offset, labels[int(client)], colour))
    ends.sort()
    # A line of text takes about a sixteenth of the axes' height, which shows half a block more on either side.
    text_height = float(table.max().max() - table.min().min() + 1) / 16
    beside = axes.get_yaxis_transform()
    where: dict[str, Any] = {"xycoords": beside, "textcoords": beside, "va": "center", "fontsize": 9.5, "color": INK}
    for (end, label, colour), y in zip(ends, spread([end for end, *_ in ends], text_height), strict=True):
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 1.5, "shrinkA": 2, "shrinkB": 0, "relpos": (0, 0.5)}
        axes.annotate(label, (1, end), (1.04, y), arrowprops=leader, **where)
    axes.set_xlim(edges[0], edges[-1])
    axes.grid(axis="y", color=GRID, linewidth=0.6)


def _cut_counts(figure: Figure, axes: Axes, table: pd.DataFrame) -> None:
    """Draw a map of how many clients have which cut in which round."""
    levels = range(int(table.min().min()), int(table.max().max()) + 1)
    counts = np.array([(table == level).sum(axis="columns") for level in levels])
    edges = np.append(table.index - 0.5, table.index[-1] + 0.5)
    shown = np.ma.masked_equal(counts, 0)
    mesh = axes.pcolormesh(edges, np.arange(levels.start, levels.stop + 1) - 0.5, shown, cmap="cividis_r", vmin=0)
    bar = figure.colorbar(mesh, ax=axes)
    bar.set_label("number of clients", fontsize=11)


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Return sorted positions moved apart to at least a gap, each group centred where it was."""
    groups: list[list[float]] = []
    for position in positions:
        groups.append([position])
        while len(groups) > 1 and _centred(groups[-1], gap)[0] - _centred(groups[-2], gap)[-1] < gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [place for group in groups for place in _centred(group, gap)]


def _centred(group: Sequence[float], gap: float) -> list[float]:
    middle = sum(group) / len(group)
    return [middle + gap * (index - (len(group) - 1) / 2) for index in range(len(group))]
