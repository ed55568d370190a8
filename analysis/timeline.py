"""The timeline of one round: a row for the server and one for each client."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from analysis.frames import client_labels, round_spans, run_name
from analysis.lanes import free_lanes
from analysis.metrics import critical_path
from analysis.style import (
    INK,
    KIND_STYLES,
    dress,
    evenly,
    fill,
    human_time,
    kind_legend,
    label_rows,
    new_figure,
    time_unit,
)
from simulator.records.runs import SERVER_CLIENT, RunRecords

BAR_HEIGHT = 0.72


def timeline(run: RunRecords, number: int) -> Figure:
    """Draw what the server and each client did in a round, and its critical path.

    The server's row shows the server's work for all clients, side by side in lanes where it serves several at once. At
    most 30 clients are drawn, evenly spaced by number; the picture says so.

    Args:
        run: its records.
        number: the round.

    Raises:
        ValueError: the run has no such round.
    """
    spans = round_spans(run, number)
    start_s = float(spans["start_s"].min())
    length_s = float(spans["end_s"].max()) - start_s
    unit = time_unit(length_s)
    spans = spans.assign(left=(spans["start_s"] - start_s) / unit.size)
    spans = spans.assign(width=(spans["end_s"] - start_s) / unit.size - spans["left"])
    clients = sorted(set(spans["client"]) - {SERVER_CLIENT})
    shown = [clients[index] for index in evenly(len(clients))]
    figure = new_figure(2.8 + 0.36 * len(shown))
    axes = figure.add_subplot()
    _draw_server(axes, spans[spans["actor"] == "server"])
    rows = {client: row for row, client in enumerate([SERVER_CLIENT, *shown])}
    for (client, kind), part in spans[spans["client"].isin(shown)].groupby(["client", "kind"], observed=True):
        _draw_bars(axes, part, str(kind), rows[client] - BAR_HEIGHT / 2, BAR_HEIGHT)
    _draw_critical_path(axes, critical_path(spans), rows)
    labels = client_labels(run)
    label_rows(axes, ["server", *(labels[client] for client in shown)])
    subtitle = f"{human_time(length_s)}; black line: the critical path, which sets the round's length"
    if len(shown) < len(clients):
        subtitle = f"{len(shown)} of {len(clients):,} clients, evenly spaced by number\n{subtitle}"
    dress(axes, f"{run_name(run)}: timeline of round {number}", subtitle)
    axes.set_xlabel(f"time since the round's start ({unit.name})", fontsize=11)
    axes.set_xlim(0, 1.002 * length_s / unit.size)  # room for the path's last corner
    kind_legend(figure, [kind for kind in KIND_STYLES if (spans["kind"] == kind).any()])
    return figure


def _draw_bars(axes: Axes, spans: pd.DataFrame, kind: str, bottom: float, height: float) -> None:
    axes.broken_barh(list(zip(spans["left"], spans["width"], strict=True)), (bottom, height), **fill(kind))


def _draw_server(axes: Axes, spans: pd.DataFrame) -> None:
    """Draw the server's row: as many lanes as it served clients at once."""
    lanes = free_lanes(spans)
    count = lanes.nunique()
    for lane in range(count):
        for kind, part in spans[lanes == lane].groupby("kind", observed=True):
            _draw_bars(axes, part, str(kind), BAR_HEIGHT * (lane / count - 0.5), BAR_HEIGHT / count)


def _draw_critical_path(axes: Axes, path: pd.DataFrame, rows: dict[int, int]) -> None:
    """Draw the path through the middle of its clients' rows, with white beside it so that it stands out from bars."""
    points: list[tuple[float, float]] = []
    for client, left, width in zip(path["client"], path["left"], path["width"], strict=True):
        y = rows.get(client, math.nan)  # a gap where its client is not drawn
        points += [(left, y), (left + width, y)]
    xs, ys = zip(*points, strict=True)
    halo = [Stroke(linewidth=4.4, foreground="#FFFFFF"), Normal()]
    axes.add_line(Line2D(xs, ys, color=INK, linewidth=2, solid_capstyle="butt", path_effects=halo))
