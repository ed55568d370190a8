"""The commands that ask a study for answers."""

import io
import math
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from tests.analysis.made_study import made_run, made_study
from tests.analysis.test_studies import CASES


@pytest.fixture(autouse=True)
def with_a_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()
    made_study(tmp_path / "studies" / "made", CASES, target=31.5)


def test_a_table_lists_cases_or_summarises_settings(call):
    code, out, _ = call("table", "made")
    assert code == 0
    assert out.count("\n| 00") == 6
    code, out, _ = call("table", "made", "--by", "policy.kind", "--metrics", "perplexity,mean_cut", "--format", "latex")
    assert code == 0
    assert r"splitft & 3 & 31.00 $\pm$ 0 & 1.500 $\pm$ 0 & 3 & 2.000 \\" in out
    assert call("table", "made", "--format", "parquet", "-o", "t.parquet")[0] == 0
    assert Path("t.parquet").stat().st_size > 0


@pytest.mark.parametrize(
    ("name", "begin"),
    [("t.tex", r"\begin{tabular}"), ("t.csv", "case,seed,policy.kind"), ("t.md", "| case |"), ("T.TEX", r"\begin")],
)
def test_a_tables_format_is_that_of_its_files_ending(call, name, begin):
    assert call("table", "made", "-o", name)[0] == 0
    assert Path(name).read_text().startswith(begin)
    assert call("table", "made", "--format", "csv", "-o", "t.txt")[0] == 0  # unless it is said
    assert Path("t.txt").read_text().startswith("case,seed")
    assert call("table", "made", "-o", "t.parquet")[0] == 0
    assert Path("t.parquet").read_bytes().startswith(b"PAR1")


def test_a_table_on_a_terminal_is_drawn_and_a_piped_one_is_markdown(call, monkeypatch):
    assert call("table", "made", "--by", "policy.kind")[1].startswith("| policy.kind | cases |")
    monkeypatch.setattr("splitft.study_answers.is_terminal", lambda: True)
    _, out, _ = call("table", "made", "--by", "policy.kind", "--metrics", "sent_bytes,energy_j")
    assert "|" not in out
    # two rounds of 300 bytes; what devices took is not known
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == [
        "policy.kind",
        "cases",
        "bytes",
        "sent",
        "(MB)",
        "energy",
        "(J)",
        "reached",
        "target",
        "median",
        "(s)",
    ]
    assert lines[2] == ["fixed", "3", "0.0006000", "±", "0", "-", "0", "-"]
    assert "goes by pairs" in out  # as intervals of rows do not
    assert call("table", "made", "--format", "markdown")[1].startswith("| case |")


def test_bytes_are_in_mb_for_people_and_in_full_for_programs(call):
    _, out, _ = call("table", "made", "--metrics", "sent_bytes")
    assert "| case | seed | policy.kind | bytes sent (MB) |" in out
    assert "| 001 | 0 | fixed | 0.0006000 |" in out
    _, out, _ = call("table", "made", "--metrics", "sent_bytes", "--format", "csv")
    assert out.splitlines()[1] == "001,0,fixed,600.0"
    _, out, _ = call("table", "made", "--effects", "sent_bytes")
    assert "| effect | share | low (MB) | high (MB) |" in out


def test_a_picture_has_a_name_that_says_what_it_is_and_replaces_no_other(call):
    assert call("plot", "made", "curve")[1].startswith("Wrote made-curve.pdf\nFor its caption: means over runs")
    assert call("plot", "made", "curve")[1].startswith("Wrote made-curve-002.pdf")
    assert call("plot", "made", "curve")[1].startswith("Wrote made-curve-003.pdf")
    assert call("plot", "studies/made/cases/001", "cuts")[1] == "Wrote 001-cuts.pdf\n"
    assert call("plot", "made", "front", "-o", "made-curve.pdf")[0] == 0  # a file that is named is replaced


def test_a_table_tells_effects_and_the_front(call):
    _, out, _ = call("table", "made", "--effects", "simulated_s")
    assert "| policy.kind | 1.000 | 2.000 | 4.000 |" in out
    _, out, _ = call("table", "made", "--pareto", "simulated_s,perplexity")
    assert "| fixed | 3 | 4.000 | 33.00 | False |" in out  # 4 s, and 32, 33 and 34
    assert "| splitft | 3 | 2.000 | 31.00 | True |" in out


def test_pictures_of_studies_and_runs_are_written(call):
    assert (
        call("plot", "made", "curve", "--x", "time_s", "--y", "perplexity", "--by", "policy.kind", "-o", "f.pdf")[0]
        == 0
    )
    assert Path("f.pdf").read_bytes().startswith(b"%PDF")
    assert call("plot", "made", "front", "-o", "f.png")[0] == 0
    assert call("plot", "studies/made/cases/001", "cuts", "-o", "c.png")[0] == 0
    assert Path("c.png").stat().st_size > 0


def test_a_comparison_shows_scenarios_then_outcomes(call):
    code, out, _ = call("compare", "made", "--by", "policy.kind", "--target", "31.5")
    assert code == 0
    assert "policy.kind=splitft against policy.kind=fixed" in out
    assert "-2 s to -2 s (student) *" in out
    code, out, _ = call("compare", "studies/made/cases/001", "studies/made/cases/004")
    assert code == 0
    assert "one seed: unknown" in out


@pytest.mark.parametrize("width", [60, 80])
def test_a_comparison_on_a_narrow_terminal_breaks_no_number(call, width, monkeypatch):
    def printed(columns):
        page = io.StringIO()
        monkeypatch.setattr("splitft.study_answers.console", lambda: Console(file=page, width=columns))
        assert call("compare", "made", "--by", "policy.kind")[0] == 0
        return page.getvalue()

    narrow, wide = printed(width), printed(300)
    assert {word for word in narrow.split() if word[-1].isdigit()} <= set(wide.split())
    assert max(map(len, narrow.splitlines())) <= width
    assert "difference" in narrow


def test_settings_without_a_pair_are_said_to_have_none(call):
    changed = Path("studies/made/cases/004/run.json")
    changed.write_text(changed.read_text().replace('"splitft"', '"splitft", "every": 2'))
    Path("studies/made/cases/001/run.json").write_text(
        Path("studies/made/cases/001/run.json").read_text().replace('"training": 0', '"training": 9')
    )
    code, out, _ = call("compare", "studies/made/cases/001", "studies/made/cases/004")
    assert code == 0
    assert "policy.kind=splitft against policy.kind=fixed: no two runs are equal in all else" in out


def test_what_is_known_of_a_target_can_be_asked_for(call):
    code, out, _ = call("table", "made", "--metrics", "target_s,perplexity", "--format", "csv")
    assert code == 0
    assert out.splitlines()[0] == "case,seed,policy.kind,target_s,perplexity"
    assert out.splitlines()[4].startswith("004,0,splitft,2.0,")
    code, out, _ = call("table", "made", "--pareto", "target_bytes,target_s")
    assert code == 0
    assert out.count("True") == 1  # the adaptive ones: others never reach it


def test_a_comparison_says_where_pairs_are_left_out(call):
    made_run(Path("diverged"), {}, [64.0, math.inf])
    shutil.copy("diverged/evals.parquet", "studies/made/cases/003/evals.parquet")
    code, out, _ = call("compare", "made", "--by", "policy.kind", "--metrics", "perplexity")
    assert code == 0
    assert "2 of 3" in out
    assert " inf " in out  # the mean of those of the baseline


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("table", "mode"), "mode: no such study folder"),
        (("table", "made", "--format", "word"), "expected markdown, latex, csv, parquet"),
        (("table", "made", "--format", "parquet"), "parquet needs a file"),
        (("table", "made", "-o", "t.docx"), "expected a name that ends in .md, .tex, .csv, .parquet, or --format; got"),
        (("table", "made", "--metrics", "perplexty"), "did you mean 'perplexity'"),
        (("table", "made", "--by", "policy.kind", "--pareto", "loss"), "--by and --pareto make different tables"),
        (("table", "made", "--effects", "loss", "--metrics", "loss"), "--effects and --metrics make different tables"),
        (("table", "made", "--pareto", "energy_j"), "no case with a known energy_j"),
        (("table", "made", "-o", "nowhere/t.md"), "nowhere/t.md cannot be written: No such file"),
        (("table", "made", "--format", "parquet", "-o", "nowhere/t"), "nowhere/t cannot be written"),
        (("plot", "made", "curve", "-o", "nowhere/f.pdf"), "nowhere/f.pdf cannot be written: No such file"),
        (("plot", "studies/made/cases/001", "cuts", "-o", "nowhere/f.pdf"), "nowhere/f.pdf cannot be written"),
        (("table", "made", "--by", "polcy.kind"), "no scenario of this study has the key 'polcy.kind'"),
        (("plot", "made", "curv"), "did you mean 'curve'"),
        (("plot", "made", "curve", "-o", "f.gif"), "expected pdf, png, svg"),
        (("plot", "studies/made/cases/001", "cuts", "-o", "f.gif"), "expected pdf, png, svg"),
        (("plot", "studies/made/cases/001", "cuts", "--x", "round"), "are for studies"),
        (("plot", "studies/made/cases/001", "cats"), "it has:"),
        (("compare", "studies/made/cases/001"), "at least two finished runs"),
        (("compare", "studies/made/cases/001", "studies/made/cases/002"), "of one setting, but for their seeds"),
        (("compare", "studies/made/cases/001", "nowhere"), "nowhere: no such run folder"),
        (("resume", "made"), "is a study; go on with: splitft sweep studies/made"),
        (("studies", "show", "paper-cut"), "did you mean 'paper-cuts'"),
    ],
)
def test_what_cannot_be_answered_is_said(call, arguments, said):
    code, _, err = call(*arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_runs_of_different_schema_versions_are_refused_by_name(call):
    meta = Path("studies/made/cases/002/run.json")
    meta.write_text(meta.read_text().replace('"schema": 1', '"schema": 7'))
    code, _, err = call("compare", "studies/made/cases/001", "studies/made/cases/002")
    assert code == 2
    assert "002/run.json: written with schema 7; this version reads schema 1" in err
    assert call("table", "made")[0] == 2


def test_shipped_studies_are_listed_and_shown(call):
    _, out, _ = call("studies", "list")
    assert "paper-cuts" in out
    _, out, _ = call("studies", "show", "paper-cuts")
    assert "base: quickstart" in out
