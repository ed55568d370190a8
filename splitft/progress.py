"""A progress bar with the time that is left, the simulated clock and how well the model does by now."""

from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from simulator.participation.selection import largest_cohort
from simulator.run import Progress as RoundProgress
from simulator.scenario import Scenario
from simulator.setting import Setting
from splitft.bar import Bar
from splitft.plain_lines import PlainLines
from splitft.show import console, duration

BAR_WIDTH = 10


class StateColumn(ProgressColumn):
    """What a task has come to: on a narrow terminal this gives way, and the time that is left stays whole."""

    def render(self, task: Task) -> Text:
        """Return it in one line."""
        return Text(task.fields["state"], no_wrap=True, overflow="ellipsis")


class RunProgress(Bar):
    """Shows how far a run is, on standard error; nothing where `shown` is false.

    Where that is no terminal, a plain line now and then stands in for the bar.
    """

    def __init__(self, scenario: Scenario, *, shown: bool) -> None:
        terminal = console(to_stderr=True)
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR_WIDTH),
            TimeRemainingColumn(),
            TextColumn("left"),
            StateColumn(),
            terminal=terminal,
            shown=shown and terminal.is_terminal,  # elsewhere it would leave an empty line behind
        )
        self._lines = PlainLines(terminal, shown=shown and not terminal.is_terminal)
        self._task = self._bar.add_task("preparing", total=None, state="")
        self._num_rounds = scenario.rounds
        self._round = 0  # the last one that is finished
        self._steps_of_round = 1
        self._num_steps = 0  # of the round at work
        self._state = ""
        self._shown = shown

    def on_tokens(self, done: int, total: int) -> None:
        """Show how many samples are tokenised."""
        self._bar.update(self._task, description="reading text", completed=done, total=total)
        self._lines.say(f"reading text: {done:,} of {total:,} samples")
        if done == total:
            self._bar.reset(self._task, description="preparing", total=None)

    def expect(self, setting: Setting) -> None:
        """Learn how many training steps there are in a round: at most, where who takes part is not known before."""
        self._lines.begin()
        scenario = setting.scenario
        self._steps_of_round = largest_cohort(scenario.selection, len(setting.fleet)) * scenario.workload.local_steps

    def on_step(self, num_steps: int) -> None:
        """Show that so many steps more are computed."""
        self._num_steps = min(self._num_steps + num_steps, self._steps_of_round)
        self._show()

    def on_round(self, progress: RoundProgress) -> None:
        """Show where the run is."""
        self._state = f"clock {duration(progress.clock_s)}"
        if progress.train_loss is not None:
            self._state += f", loss {progress.train_loss:.3f}"
        if progress.perplexity is not None:
            when = "" if progress.evaluated_round == progress.round else f" (round {progress.evaluated_round})"
            self._state += f", perplexity {progress.perplexity:.4g}{when}"
        self._round, self._num_steps = progress.round, 0  # also those that were remembered, or not trained
        self._show()

    def on_note(self, note: str) -> None:
        """Show a sentence above the bar."""
        if self._shown:
            self._bar.console.print(f"note: {note}", soft_wrap=True)

    def _show(self) -> None:
        where = f"round {min(self._round + 1, self._num_rounds)}/{self._num_rounds}"
        done, total = self._round * self._steps_of_round + self._num_steps, self._num_rounds * self._steps_of_round
        self._bar.update(self._task, description=where, completed=done, total=total, state=self._state)
        self._lines.say(", ".join(filter(None, [where, self._state])), done / total)
