"""A progress bar over all cases of a study, with the time that is left."""

from collections.abc import Sequence

from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from simulator.engines.news import News
from simulator.study import Case
from splitft.bar import Bar
from splitft.plain_lines import PlainLines
from splitft.show import console
from splitft.studies import Preview


class StudyProgress(Bar):
    """Shows how far a sweep is, on standard error; nothing where `shown` is false. A round of any case is one step.

    Where that is no terminal, a plain line now and then stands in for the bar.
    """

    def __init__(self, *, shown: bool) -> None:
        terminal = console(to_stderr=True)
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            terminal=terminal,
            shown=shown and terminal.is_terminal,
        )
        self._lines = PlainLines(terminal, shown=shown and not terminal.is_terminal)
        self._task = self._bar.add_task("checking cases", total=None, state="")
        self._shown = shown
        self._num_rounds: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._num_ended = self._num_failed = 0

    def on_check(self, done: int, total: int) -> None:
        """Show how many cases have been found good."""
        self._bar.update(self._task, completed=done, total=total)
        self._lines.say(f"checking cases: {done:,} of {total:,}")

    def on_start(self, cases: Sequence[Case], preview: Preview) -> None:
        """Learn what is to come, and show what a user should know of it."""
        self._num_rounds = {case.id: preview.num_rounds[case.id] for case in cases}
        self._bar.reset(self._task, total=sum(self._num_rounds.values()))
        self._lines.begin()
        if self._shown:
            for note in preview.notes:
                self._bar.console.print(f"note: {note}", soft_wrap=True)
        self._show()

    def on_news(self, news: News) -> None:
        """Show what has happened to a case."""
        before = self._done.get(news.case, 0)
        if news.kind == "round":
            self._done[news.case] = news.round
        elif news.kind != "begun":
            self._done[news.case] = self._num_rounds[news.case]
            self._num_ended += 1
            self._num_failed += news.kind == "failed"
        self._bar.advance(self._task, self._done.get(news.case, 0) - before)
        if news.kind == "failed" and self._shown:
            self._bar.console.print(f"case {news.case} failed: {news.error}", soft_wrap=True, markup=False)
        self._show()

    def _show(self) -> None:
        where = f"case {min(self._num_ended + 1, len(self._num_rounds))}/{len(self._num_rounds)}"
        failed = f"{self._num_failed} failed" if self._num_failed else ""
        self._bar.update(self._task, description=where, state=failed)
        done, total = sum(self._done.values()), sum(self._num_rounds.values())
        rounds = f"{done:,} of {total:,} rounds"
        self._lines.say(", ".join(filter(None, [where, rounds, failed])), done / total if total else None)
