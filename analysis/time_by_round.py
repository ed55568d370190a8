"""The picture of where time went round by round."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.frames import client_labels, client_totals, run_name, span_totals
from analysis.metrics import mean_client_time, working_s
from analysis.style import GRID, KIND_STYLES, QUIET, dress, fill, kind_legend, new_figure, plain, time_unit
from simulator.records.runs import RunRecords

MAX_CLIENTS = 6


def time_by_round(run: RunRecords) -> Figure:
    """Draw where each client's time went in every round: a panel a client, seconds stacked by span kind.

    At most 6 clients are drawn, evenly spaced from the slowest to the fastest; the picture says so.
    """
    totals = client_totals(span_totals(run))
    work = working_s(mean_client_time(totals)).sort_values(ascending=False, kind="stable").index
    shown = work[np.linspace(0, len(work) - 1, min(len(work), MAX_CLIENTS)).round().astype(int)]
    seconds = totals[totals["client"].isin(shown)].pivot_table(
        index=["client", "round"], columns="kind", values="duration_s", aggfunc="sum", observed=True, fill_value=0.0
    )
    seconds.columns = seconds.columns.astype(str)
    kinds = [kind for kind in KIND_STYLES if kind in seconds.columns]
    unit = time_unit(float(seconds.sum(axis="columns").max()))
    rounds = range(int(run.rounds["round"].min()), int(run.rounds["round"].max()) + 1)
    figure = new_figure(2.2 + 1.0 * len(shown))
    panels = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    labels = client_labels(run)
    for axes, client in zip(panels, shown, strict=True):
        _draw_stack(axes, seconds.loc[client].reindex(rounds, fill_value=0.0)[kinds] / unit.size)
        axes.set_title(labels[client], loc="left", fontsize=10, color=QUIET)
    heading = f"{run_name(run)}: where each client's time went, round by round"
    left_out = f"{len(shown)} of {len(work):,} clients, evenly spaced from the slowest to the fastest\n"
    dress(panels[0], heading, (left_out if len(shown) < len(work) else "") + labels[shown[0]])
    panels[-1].set_xlabel("round", fontsize=11)
    figure.supylabel(f"time ({unit.name})", fontsize=11)
    kind_legend(figure, kinds)
    return figure


def _draw_stack(axes: Axes, table: pd.DataFrame) -> None:
    """Draw one block a round, its kinds on top of each other; areas instead of bars, so that many rounds are cheap."""
    edges = np.append(table.index - 0.5, table.index[-1] + 0.5)
    lower = np.zeros(len(edges))
    for kind in table.columns:
        upper = lower + np.append(table[kind], table[kind].iloc[-1])
        axes.fill_between(edges, lower, upper, step="post", **fill(kind))
        lower = upper
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    plain(axes)
