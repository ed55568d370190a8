"""How numbers and tables look on a terminal."""

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

GIB = 2**30
MB = 1e6
PIPE_COLUMNS = 200


def console(*, to_stderr: bool = False) -> Console:
    """Return where to print: a terminal at its own width, a file or a pipe without colours and without folding."""
    stream = sys.stderr if to_stderr else sys.stdout
    return Console(stderr=to_stderr, highlight=False, width=None if stream.isatty() else PIPE_COLUMNS)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", caption: str = "") -> Table:
    """Return a table; columns whose every cell is a number, a blank or a dash are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    result = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold",
        caption=caption or None, caption_justify="left", pad_edge=False,
    )  # fmt: skip
    for position, heading in enumerate(headings):
        is_number = all(_is_number(row[position]) for row in cells)
        result.add_column(heading, justify="right" if is_number else "left", overflow="fold", no_wrap=position == 0)
    for row in cells:
        result.add_row(*row)
    return result


def tflops(flops_per_s: float | None) -> str:
    """Return a rate in TFLOP/s."""
    return "-" if flops_per_s is None else f"{flops_per_s / 1e12:.3g}"


def mbit_per_s(bytes_per_s: float | None) -> str:
    """Return a rate in Mbit/s."""
    return "-" if bytes_per_s is None else f"{bytes_per_s * 8 / 1e6:.4g}"


def milliseconds(seconds: float | None) -> str:
    """Return a time in ms."""
    return "-" if seconds is None else f"{seconds * 1e3:.3g}"


def megabytes(num_bytes: float) -> str:
    """Return a size in MB (decimal), as link rates are."""
    return f"{num_bytes / MB:,.2f} MB"


def duration(seconds: float) -> str:
    """Return a time as people say it: `9.4 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    if seconds < 86400:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    return f"{int(seconds // 86400)} d {int(seconds % 86400 // 3600)} h"


def _is_number(text: str) -> bool:
    return text.strip("*-+%., ").replace(",", "").replace(".", "", 1).replace("e", "", 1).isdigit() or text in {"", "-"}
