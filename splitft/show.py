"""How numbers and tables look on a terminal."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console

from splitft.fitting import FittingTable

GIB = 2**30
MB = 1e6
PIPE_COLUMNS = 200


def console(*, to_stderr: bool = False) -> Console:
    """Return where to print: a terminal at its own width, a file or a pipe without colours and without folding."""
    stream = sys.stderr if to_stderr else sys.stdout
    return Console(stderr=to_stderr, highlight=False, width=None if stream.isatty() else PIPE_COLUMNS)


def is_terminal() -> bool:
    """Return whether what is printed is read on a terminal."""
    return sys.stdout.isatty()


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    caption: str = "",
    optional: Sequence[str] = (),
) -> FittingTable:
    """Return a table that fits the terminal; columns of quantities are aligned to the right.

    Args:
        headings: of the columns; the first names the rows.
        rows: cells.
        title: above it.
        caption: below it.
        optional: columns that a narrow terminal may go without, in the order in which they are left out.
    """
    return FittingTable(headings, [[str(cell) for cell in row] for row in rows], title, caption, optional)


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


def energy(joules: float) -> str:
    """Return an energy in J, kJ or, from a tenth of a kWh on, in kWh."""
    if joules < 1e3:
        return f"{joules:.3g} J"
    return f"{joules / 1e3:,.1f} kJ" if joules < 3.6e5 else f"{joules / 3.6e6:,.2f} kWh"


def duration(seconds: float) -> str:
    """Return a time as people say it: `9.4 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    if seconds < 86400:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    return f"{int(seconds // 86400)} d {int(seconds % 86400 // 3600)} h"
