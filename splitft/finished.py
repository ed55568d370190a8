"""A finished run, as users of the Python interface see it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from analysis.summary import RunSummary, summarise
from simulator.records.runs import RunRecords

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Run:
    """A finished run: its records as pandas frames, its summary and its pictures.

    Attributes:
        folder: where it is on disk; None where it was run without a folder.
    """

    def __init__(self, records: RunRecords) -> None:
        self.records = records
        self.folder = records.folder

    @property
    def spans(self) -> pd.DataFrame:
        """Where the simulated time went: one row per closed interval."""
        return self.records.spans

    @property
    def rounds(self) -> pd.DataFrame:
        """One row per round."""
        return self.records.rounds

    @property
    def clients(self) -> pd.DataFrame:
        """One row per round and client."""
        return self.records.clients

    @property
    def evals(self) -> pd.DataFrame:
        """One row per held-out evaluation."""
        return self.records.evals

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the scenario was read, such as clients left out for want of memory."""
        return tuple(self.records.meta["notes"])

    @property
    def summary(self) -> RunSummary:
        """The totals: simulated time, bytes, losses, targets, the slowest client."""
        return summarise(self.records)

    def plot(self, name: str) -> "Figure":
        """Return a picture by name, as in the folder `plots/`.

        Raises:
            ValueError: there is no picture of this name for this run; the message names those there are.
        """
        from analysis.plots import figure

        return figure(self.records, name)

    def write_trace(self, file: Path | str, rounds: range | None = None) -> None:
        """Write where the time went as a trace for https://ui.perfetto.dev; a name in `.gz` makes it a compressed one.

        Raises:
            ValueError: the run kept no single spans (`execution.spans`), or has none of these rounds.
        """
        from analysis.trace import write_trace

        write_trace(self.records, Path(file), rounds)

    def __repr__(self) -> str:
        """Say what was run and where it is."""
        place = str(self.folder) if self.folder else "in memory"
        return f"<Run {self.summary.name!r}: {len(self.rounds)} rounds, {place}>"
