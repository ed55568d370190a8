"""The timeline of one round: a row for the server and one for each client."""

import math
from collections.abc import Hashable, Sequence

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
    MAX_ROWS,
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
PATH_BELOW = 0.43  # its middle, so that the path touches it and no other


def timeline(run: RunRecords, number: int) -> Figure:
    """Draw what the server and each client did in a round, and its critical path.

    The server's row shows the server's work for all clients, side by side in lanes where it serves several at once. At
    most 30 clients are drawn: those on the critical path, and of the others some evenly spaced by number; the picture
    says so. Where a queue of more clients is on the path, its line follows the server.

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
    path = _drawn_path(critical_path(spans))
    shown = _shown(clients, _owners(path))
    figure = new_figure(2.8 + 0.36 * len(shown))
    axes = figure.add_subplot()
    _draw_server(axes, spans[spans["actor"] == "server"])
    rows: dict[Hashable, int] = {client: row for row, client in enumerate([SERVER_CLIENT, *shown])}
    for (client, kind), part in spans[spans["client"].isin(shown)].groupby(["client", "kind"], observed=True):
        _draw_bars(axes, part, str(kind), rows[client] - BAR_HEIGHT / 2, BAR_HEIGHT)
    _draw_critical_path(axes, path, rows)
    labels = client_labels(run)
    label_rows(axes, ["server", *(labels[client] for client in shown)])
    subtitle = f"{human_time(length_s)}; black line: the critical path, under its bars, sets the round's length"
    if len(shown) < len(clients):
        subtitle = f"{len(shown)} of {len(clients):,} clients: the critical path's, others evenly spaced\n{subtitle}"
    dress(axes, f"{run_name(run)}: timeline of round {number}", subtitle)
    axes.set_xlabel(f"time since the round's start ({unit.name})", fontsize=11)
    axes.set_xlim(0, 1.01 * length_s / unit.size)  # room for the path's last corner
    kind_legend(figure, [kind for kind in KIND_STYLES if (spans["kind"] == kind).any()])
    return figure


def _drawn_path(path: pd.DataFrame) -> pd.DataFrame:
    """Return the path; through more clients than have rows, as along a queue, its server's work in the server's row."""
    if len(_owners(path)) <= MAX_ROWS:
        return path
    return path.assign(client=path["client"].where(path["actor"] != "server", SERVER_CLIENT))


def _owners(path: pd.DataFrame) -> list[int]:
    """Return the clients of a path in its order."""
    return [int(client) for client in path["client"].unique() if client != SERVER_CLIENT]


def _shown(clients: Sequence[int], owners: Sequence[int]) -> list[int]:
    """Return the clients that have rows: those of the critical path, and others where there is room."""
    first = [owners[index] for index in evenly(len(owners))]
    others = [client for client in clients if client not in set(owners)]
    return sorted(first + [others[index] for index in evenly(len(others), MAX_ROWS - len(first))])


def _draw_bars(axes: Axes, spans: pd.DataFrame, kind: str, bottom: float, height: float) -> None:
    axes.broken_barh(list(zip(spans["left"], spans["width"], strict=True)), (bottom, height), **fill(kind))


def _draw_server(axes: Axes, spans: pd.DataFrame) -> None:
    """Draw the server's row: as many lanes as it served clients at once."""
    lanes = free_lanes(spans)
    count = lanes.nunique()
    for lane in range(count):
        for kind, part in spans[lanes == lane].groupby("kind", observed=True):
            _draw_bars(axes, part, str(kind), BAR_HEIGHT * (lane / count - 0.5), BAR_HEIGHT / count)


def _draw_critical_path(axes: Axes, path: pd.DataFrame, rows: dict[Hashable, int]) -> None:
    """Draw the path under its clients' bars, with white beside it where it crosses those of others."""
    points: list[tuple[float, float]] = []
    for client, left, width in zip(path["client"], path["left"], path["width"], strict=True):
        y = rows.get(client, math.nan) + PATH_BELOW  # a gap where its client is not drawn
        points += [(left, y), (left + width, y)]
    xs, ys = zip(*points, strict=True)
    halo = [Stroke(linewidth=4.4, foreground="#FFFFFF"), Normal()]
    axes.add_line(Line2D(xs, ys, color=INK, linewidth=2, solid_capstyle="butt", path_effects=halo))
