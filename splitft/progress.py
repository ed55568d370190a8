"""A progress bar with the time that is left, the simulated clock and how well the model does by now."""

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from simulator.run import Progress as RoundProgress
from simulator.scenario import Scenario
from splitft.show import console, duration


class RunProgress:
    """Shows how far a run is, on standard error; nothing where `shown` is false."""

    def __init__(self, scenario: Scenario, *, shown: bool) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console(to_stderr=True),
            transient=True,
            disable=not shown,
        )
        self._task = self._bar.add_task("preparing", total=None, state="")
        self._num_rounds = scenario.rounds

    def __enter__(self) -> Self:
        """Start showing."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop showing."""
        self._bar.stop()

    def on_tokens(self, done: int, total: int) -> None:
        """Show how many samples are tokenised."""
        self._bar.update(self._task, description="reading text", completed=done, total=total)
        if done == total:
            self._bar.reset(self._task, description="preparing", total=None)

    def on_round(self, progress: RoundProgress) -> None:
        """Show where the run is."""
        state = f"clock {duration(progress.clock_s)}"
        if progress.perplexity is not None:
            state += f", perplexity {progress.perplexity:.2f}"
        self._bar.update(
            self._task,
            description=f"round {progress.round}/{progress.num_rounds}",
            completed=progress.round,
            total=progress.num_rounds,
            state=state,
        )
