"""The progress bar moves with every step, and knows how much is left."""

import io
import re

import pytest
from rich.console import Console

from simulator.engines.news import News
from simulator.run import Progress
from simulator.setting import resolve
from simulator.study import quick_study
from splitft.plain_lines import PlainLines
from splitft.progress import RunProgress
from splitft.studies import Preview
from splitft.study_progress import StudyProgress
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


def progress_after(number, **changes):
    known = {"clock_s": 61.0, "train_loss": 2.71828, "perplexity": 12.345, "evaluated_round": number}
    return Progress(round=number, num_rounds=2, **{**known, **changes})


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
    progress.on_round(progress_after(1))
    assert task_of(progress) == ("round 2/2", 6, 12)
    progress.on_step(2)
    assert task_of(progress) == ("round 2/2", 8, 12)
    progress.on_round(progress_after(2))
    assert task_of(progress) == ("round 2/2", 12, 12)


def test_more_steps_than_expected_never_pass_the_end_of_a_round(shown):
    progress, _ = shown
    progress.on_step(100)
    assert task_of(progress) == ("round 1/2", 6, 12)


def test_clock_loss_and_perplexity_stand_beside_it(shown):
    progress, text = shown
    with progress:
        progress.on_round(progress_after(1))
    assert "clock 1 min 01 s, loss 2.718, perplexity 12.3" in text.getvalue()
    assert "(round" not in text.getvalue()


def test_a_perplexity_of_an_earlier_round_says_so_while_the_loss_is_that_of_the_last(shown):
    progress, text = shown
    with progress:
        progress.on_round(progress_after(2, train_loss=1.5, evaluated_round=0))
    assert "loss 1.500, perplexity 12.35 (round 0)" in text.getvalue().replace("12.34 ", "12.35 ")


def test_on_a_narrow_terminal_the_time_that_is_left_stays_whole(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr("splitft.progress.console", lambda **_: Console(file=text, force_terminal=True, width=80))
    progress = RunProgress(small(), shown=True)
    progress.expect(resolve(small()))
    with progress:
        progress.on_round(progress_after(1, clock_s=3723.0, perplexity=1234.5, evaluated_round=0))
    assert "-:--:-- left clock 1 h 02 min, loss 2.718" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.getvalue())


def test_where_nothing_is_learned_the_clock_stands_alone(shown):
    progress, text = shown
    with progress:
        progress.on_round(progress_after(1, train_loss=None, perplexity=None))
    assert "clock 1 min 01 s" in text.getvalue()
    assert "loss" not in text.getvalue()


def test_notes_are_shown_above_the_bar(shown):
    progress, text = shown
    with progress:
        progress.on_note("clients are trained one after another")
    assert "note: clients are trained one after another" in text.getvalue()


def test_into_a_pipe_go_notes_alone(capfd):
    with RunProgress(small(), shown=True) as progress:
        progress.on_step(1)
        progress.on_note("something")
    assert capfd.readouterr() == ("", "note: something\n")


@pytest.fixture
def wall(monkeypatch):
    """A wall clock that a test sets, in seconds."""

    class Wall:
        now_s = 100.0

    monkeypatch.setattr(PlainLines.__init__, "__kwdefaults__", {"every_s": 30.0, "now_s": lambda: Wall.now_s})
    return Wall


def test_into_a_file_goes_a_line_now_and_then_with_what_the_bar_would_show(capfd, wall):
    with RunProgress(small(), shown=True) as progress:
        progress.expect(resolve(small()))
        wall.now_s += 29
        progress.on_step(1)  # too soon
        wall.now_s += 1
        progress.on_step(2)  # 3 of 12 steps in 30 s: 90 s for the others
        progress.on_step(1)
        wall.now_s += 30
        progress.on_round(progress_after(1))  # half of it in 60 s
    assert capfd.readouterr().err.splitlines() == [
        "round 1/2, about 1 min 30 s left",
        "round 2/2, clock 1 min 01 s, loss 2.718, perplexity 12.35, about 1 min 00 s left",
    ]


def test_a_long_reading_of_text_is_told_of_too_and_nothing_where_nothing_is_to_be_shown(capfd, wall):
    told, silent = RunProgress(small(), shown=True), RunProgress(small(), shown=False)
    wall.now_s += 31
    for progress in (told, silent):
        progress.on_tokens(1000, 20000)
    assert capfd.readouterr().err == "reading text: 1,000 of 20,000 samples\n"


def test_a_sweep_into_a_file_tells_of_its_cases_now_and_then(capfd, wall):
    study = quick_study("quickstart", {"rounds": [2, 4]})
    with StudyProgress(shown=True) as progress:
        progress.on_start(study.cases, Preview(num_rounds={"001": 2, "002": 4}))
        wall.now_s += 30
        progress.on_news(News(case="002", kind="round", round=2))  # 2 of 6 rounds: twice as long again
        progress.on_news(News(case="002", kind="round", round=3))
        wall.now_s += 30
        progress.on_news(News(case="001", kind="failed", error="no luck"))
    assert capfd.readouterr().err.splitlines() == [
        "case 1/2, 2 of 6 rounds, about 1 min 00 s left",
        "case 001 failed: no luck",
        "case 2/2, 5 of 6 rounds, 1 failed, about 12 s left",
    ]


def test_a_bar_that_is_not_shown_says_nothing(capfd):
    with RunProgress(small(), shown=False) as progress:
        progress.on_step(1)
        progress.on_note("something")
    assert capfd.readouterr() == ("", "")


def test_a_sweeps_bar_counts_cases_that_are_checked_and_then_rounds_of_all_cases(monkeypatch):
    monkeypatch.setattr("splitft.study_progress.console", lambda **_: Console(file=io.StringIO(), width=120))
    study = quick_study("quickstart", {"rounds": [2, 4]})
    progress = StudyProgress(shown=True)
    progress.on_check(1, 2)
    assert task_of(progress) == ("checking cases", 1, 2)
    progress.on_start(study.cases, Preview(num_rounds={"001": 2, "002": 4}))
    assert task_of(progress) == ("case 1/2", 0, 6)
    for case, kind, number in [("001", "begun", 0), ("002", "round", 1), ("001", "round", 1), ("002", "round", 2)]:
        progress.on_news(News(case=case, kind=kind, round=number))
    assert task_of(progress) == ("case 1/2", 3, 6)
    progress.on_news(News(case="002", kind="failed", error="no luck"))  # its other two rounds will not come
    assert task_of(progress) == ("case 2/2", 5, 6)
    progress.on_news(News(case="001", kind="finished"))
    assert task_of(progress) == ("case 2/2", 6, 6)
