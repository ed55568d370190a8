"""The picture of where time went round by round."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.frames import AFTER_WORK, client_labels, client_totals, run_name, span_totals
from analysis.metrics import mean_client_time, working_s
from analysis.style import (
    GRID,
    KIND_STYLES,
    QUIET,
    dress,
    evenly,
    fill,
    human_time,
    kind_legend,
    new_figure,
    plain,
    time_unit,
)
from simulator.records.runs import RunRecords

MAX_CLIENTS = 6


def time_by_round(run: RunRecords) -> Figure:
    """Draw where each client's time went in every round until its work was done: seconds stacked by span kind.

    Each client has a panel and a scale of its own, as fast ones are done in a small part of a round; its heading says
    how small. At most 6 clients are drawn, evenly spaced from the slowest to the fastest; the picture says so.
    """
    totals = client_totals(span_totals(run))
    mean_s = mean_client_time(totals)
    work_s = working_s(mean_s).sort_values(ascending=False, kind="stable")
    shown = work_s.index[evenly(len(work_s), MAX_CLIENTS)]
    seconds = totals[totals["client"].isin(shown) & ~totals["kind"].isin(AFTER_WORK)].pivot_table(
        index=["client", "round"], columns="kind", values="duration_s", aggfunc="sum", observed=True, fill_value=0.0
    )
    seconds.columns = seconds.columns.astype(str)
    kinds = [kind for kind in KIND_STYLES if kind in seconds.columns]
    rounds = range(int(run.rounds["round"].min()), int(run.rounds["round"].max()) + 1)
    figure = new_figure(2.2 + 1.0 * len(shown))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    names, headings = client_labels(run), []
    for axes, client in zip(panels, shown, strict=True):
        worked = seconds.loc[seconds.index.get_level_values("client") == client].droplevel("client")
        unit = time_unit(float(worked.sum(axis="columns").max()))
        _draw_stack(axes, worked.reindex(rounds, fill_value=0.0)[kinds] / unit.size)
        axes.set_ylabel(unit.name, fontsize=11)
        done, length = human_time(work_s[client]), human_time(mean_s.loc[client].sum())
        headings.append(f"{names[client]}: done after {done} of {length}, mean over rounds")
        axes.set_title(headings[-1], loc="left", fontsize=10, color=QUIET)
    title = f"{run_name(run)}: where each client's time went, round by round"
    left_out = f"{len(shown)} of {len(work_s):,} clients, evenly spaced from the slowest to the fastest\n"
    subtitle = "until its own work was done; each client has a scale of its own\n"
    dress(panels[0], title, (left_out if len(shown) < len(work_s) else "") + subtitle + headings[0])
    panels[-1].set_xlabel("round", fontsize=11)
    figure.supylabel("time", fontsize=11)
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
