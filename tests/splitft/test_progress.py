"""The progress bar moves with every step, and knows how much is left."""

import io

import pytest
from rich.console import Console

from simulator.run import Progress
from simulator.setting import resolve
from splitft.progress import RunProgress
from tests.small_run import small


@pytest.fixture
def shown(monkeypatch):
    """A progress bar over 2 rounds of 3 clients with 2 steps each, and what it writes."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    monkeypatch.setattr("splitft.progress.console", lambda **_: console)
    progress = RunProgress(small(), shown=True)
    progress.expect(resolve(small()))
    return progress, text


def task_of(progress):
    [task] = progress._bar.tasks
    return task.description, task.completed, task.total


def test_steps_move_the_bar_within_a_round(shown):
    progress, _ = shown
    progress.on_step(1)
    assert task_of(progress) == ("round 1/2", 1, 12)
    progress.on_step(3)  # a group of three clients
    assert task_of(progress) == ("round 1/2", 4, 12)


def test_the_end_of_a_round_settles_what_was_remembered(shown):
    progress, _ = shown
    progress.on_step(2)
    progress.on_progress = progress.on_round(Progress(round=1, num_rounds=2, clock_s=61.0, perplexity=12.345))
    assert task_of(progress) == ("round 2/2", 6, 12)
    progress.on_step(2)
    assert task_of(progress) == ("round 2/2", 8, 12)
    progress.on_round(Progress(round=2, num_rounds=2, clock_s=90.0, perplexity=None))
    assert task_of(progress) == ("round 2/2", 12, 12)


def test_more_steps_than_expected_never_pass_the_end_of_a_round(shown):
    progress, _ = shown
    progress.on_step(100)
    assert task_of(progress) == ("round 1/2", 6, 12)


def test_clock_and_perplexity_stand_beside_it(shown):
    progress, text = shown
    with progress:
        progress.on_round(Progress(round=1, num_rounds=2, clock_s=61.0, perplexity=12.345))
    assert "perplexity 12.35" in text.getvalue() or "perplexity 12.34" in text.getvalue()
    assert "clock 1 min" in text.getvalue()


def test_notes_are_shown_above_the_bar(shown):
    progress, text = shown
    with progress:
        progress.on_note("clients are trained one after another")
    assert "note: clients are trained one after another" in text.getvalue()


def test_a_bar_that_is_not_shown_says_nothing(capfd):
    with RunProgress(small(), shown=False) as progress:
        progress.on_step(1)
        progress.on_note("something")
    assert capfd.readouterr() == ("", "")
