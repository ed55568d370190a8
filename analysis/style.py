"""How pictures look: one colour and hatch for each span kind, human units, titles.

Figures are made without pyplot, so nothing here touches global state and any thread may draw. At 8 inches and 150 dpi a
picture is 1,200 pixels wide; shown at 900 its smallest text is still larger than 9 points are on a screen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

WIDTH_IN = 8.0
DPI = 150
INK = "#222222"
QUIET = "#666666"
GRID = "#DDDDDD"
MAX_ROWS = 30

# Okabe and Ito's colours, which stay apart for colour-blind readers: lines of different clients.
CLIENT_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
LINE_STYLES = ("-", "--", ":")


def line_look(place: int) -> tuple[str, str]:
    """Return the colour and the dashes of a line by its place, from 0: every colour once, then again with dashes."""
    num_colours = len(CLIENT_COLOURS)
    return CLIENT_COLOURS[place % num_colours], LINE_STYLES[place // num_colours % len(LINE_STYLES)]


@dataclass(frozen=True)
class KindStyle:
    """Fill colour, hatch and hatch colour of a span kind."""

    colour: str
    hatch: str = ""
    hatch_colour: str = "#FFFFFF"


# Hue says where the time goes (blue: on the device, green: uplink, purple: downlink, orange: server, grey: waiting),
# lightness and hatch say which kind; the order is that of stacks and legends. Hues are Okabe and Ito's.
KIND_STYLES = {
    "client_forward": KindStyle("#56B4E9"),
    "client_backward": KindStyle("#0072B2"),
    "client_optimizer": KindStyle("#003A5C"),
    "client_head": KindStyle("#A9D8F5"),
    "client_merge": KindStyle("#003A5C", "////"),
    "validation_forward": KindStyle("#56B4E9", "////"),
    "validation_head": KindStyle("#A9D8F5", "////"),
    "upload_activations": KindStyle("#009E73"),
    "upload_labels": KindStyle("#8FDCC3"),
    "upload_gradients": KindStyle("#4DBF9A"),
    "upload_adapter": KindStyle("#00563F"),
    "upload_validation": KindStyle("#009E73", "////"),
    "upload_moments": KindStyle("#00563F", "...."),
    "download_gradients": KindStyle("#CC79A7"),
    "download_activations": KindStyle("#E3B8D0"),
    "download_validation": KindStyle("#CC79A7", "////"),
    "download_adapter": KindStyle("#7A3E60"),
    "download_weights": KindStyle("#7A3E60", "////"),
    "download_moments": KindStyle("#7A3E60", "...."),
    "server_step": KindStyle("#D55E00"),
    "server_forward": KindStyle("#F0A36B"),
    "server_backward": KindStyle("#A34700"),
    "server_validation": KindStyle("#D55E00", "////"),
    "aggregate": KindStyle("#E69F00"),
    "server_wait": KindStyle("#F5EB8C", "....", "#777777"),
    "overlap_wait": KindStyle("#F5EB8C", "////", "#777777"),
    "round_wait": KindStyle("#E4E4E4"),
    "offline": KindStyle("#FFFFFF", "xxxx", "#777777"),
}


@dataclass(frozen=True)
class Unit:
    """A unit that a reader likes: its name and its size in base units."""

    name: str
    size: float


def time_unit(longest_s: float) -> Unit:
    """Return the unit in which times up to this long read well."""
    for unit, limit_s in ((Unit("ms", 1e-3), 1.0), (Unit("s", 1.0), 300.0), (Unit("min", 60.0), 18e3)):
        if longest_s < limit_s:
            return unit
    return Unit("h", 3600.0) if longest_s < 5 * 86_400 else Unit("days", 86_400.0)


def byte_unit(most_bytes: float) -> Unit:
    """Return the decimal unit in which sizes up to this read well."""
    for unit in (Unit("B", 1.0), Unit("kB", 1e3), Unit("MB", 1e6), Unit("GB", 1e9)):
        if most_bytes < 1000 * unit.size:
            return unit
    return Unit("TB", 1e12)


def number(value: float) -> str:
    """Return a number with three significant digits, in full and with thousands separated."""
    if value and abs(value) < 1:
        return f"{value:.3g}"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def human_bytes(size: float) -> str:
    """Return a size such as `12.3 MB`."""
    unit = byte_unit(size)
    return f"{number(size / unit.size)} {unit.name}"


def human_time(seconds: float) -> str:
    """Return a duration such as `4.20 min`."""
    unit = time_unit(seconds)
    return f"{number(seconds / unit.size)} {unit.name}"


def kind_label(kind: str) -> str:
    """Return a span kind as words."""
    return kind.replace("_", " ")


def new_figure(height_in: float) -> Figure:
    """Return an empty figure of the width that all pictures share."""
    return Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")


def dress(axes: Axes, title: str, subtitle: str = "") -> None:
    """Give axes their title, and quieter lines under it."""
    lines = len(subtitle.splitlines())
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=9 + 14 * lines)
    where: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    note = axes.annotate(subtitle, (0, 1), (0, 8), fontsize=10, color=QUIET, **where)
    note.set_in_layout(False)  # a long line must not narrow the axes
    plain(axes)


def plain(axes: Axes) -> None:
    """Leave only the spines that carry ticks, and draw the grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(labelsize=10, colors=INK, length=3)
    axes.set_axisbelow(True)


def kind_legend(figure: Figure, kinds: list[str]) -> None:
    """Put the legend of these kinds under the data, in the order of stacks."""
    handles = [kind_patch(kind) for kind in KIND_STYLES if kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9.5, frameon=False)


def kind_patch(kind: str) -> Patch:
    """Return the legend's entry of a kind."""
    return Patch(label=kind_label(kind), **fill(kind))


def fill(kind: str) -> dict[str, Any]:
    """Return the arguments that paint a kind's bars."""
    style = KIND_STYLES[kind]
    return {
        "facecolor": style.colour,
        "hatch": style.hatch,
        "edgecolor": style.hatch_colour if style.hatch else "none",
        "linewidth": 0,
    }


def evenly(count: int, most: int = MAX_ROWS) -> list[int]:
    """Return at most so many indices of `count` things, evenly spaced, the first and the last among them."""
    return [int(index) for index in np.linspace(0, count - 1, min(count, most)).round()]


def label_rows(axes: Axes, labels: list[str]) -> None:
    """Name the rows of a picture with one row a client, the first one on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_ylabel("client, device", fontsize=11)


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG and return its path."""
    figure.savefig(path, dpi=DPI)
    return path
