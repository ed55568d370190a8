"""`splitft trace`: a run as a file that Perfetto shows."""

from pathlib import Path

from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn

from analysis.trace import write_trace
from devices.problems import InputError, Problem
from splitft.answers import told, writing
from splitft.api import load_run
from splitft.bar import Bar
from splitft.run_folders import find_run
from splitft.show import console


def trace_run(name: str, *, rounds: str | None, out: Path | None) -> None:
    """Write the trace of a run and say where it is.

    Args:
        name: of the run, as `find_run` takes it.
        rounds: a number, or the first and the last as in `3-5`; None: all.
        out: the file; by default one in the current folder, named after the run.
    """
    wanted = None if rounds is None else _range(rounds)
    folder = find_run(name)
    records = load_run(folder).records
    file = out or Path(f"{folder.resolve().name}.trace.json.gz")
    with TraceProgress() as progress, told(), writing(file):
        write_trace(records, file, wanted, progress.show)


def _range(text: str) -> range:
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first, first]
    if not all(number.strip().isascii() and number.strip().isdigit() for number in numbers):
        raise InputError(Problem("expected a round, or the first and the last as in 3-5", "--rounds", value=text))
    low, high = (int(number) for number in numbers)
    if not 1 <= low <= high:
        raise InputError(Problem("rounds count from 1, and the first comes first", "--rounds", value=text))
    return range(low, high + 1)


class TraceProgress(Bar):
    """Shows how many spans are written, on a terminal."""

    def __init__(self) -> None:
        terminal = console(to_stderr=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        super().__init__(*columns, terminal=terminal, shown=terminal.is_terminal)
        self._task = self._bar.add_task("writing spans", total=None)

    def show(self, written: int, total: int) -> None:
        """Show so many of all."""
        self._bar.update(self._task, completed=written, total=total)
