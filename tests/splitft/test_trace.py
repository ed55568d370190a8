"""`splitft trace`, and the same from Python."""

import gzip
import json
from pathlib import Path

import pytest

import splitft
from tests.analysis.synthetic import synthetic_run
from tests.small_run import small


@pytest.fixture(autouse=True)
def with_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    synthetic_run(tmp_path / "runs" / "made-001", num_rounds=3)


def test_a_trace_is_written_beside_the_user_and_said(call):
    assert call("trace", "last") == (0, "Wrote made-001.trace.json.gz\n", "")
    with gzip.open("made-001.trace.json.gz") as file:
        whole = json.load(file)["traceEvents"]
    assert call("trace", "made-001", "--rounds", "2", "-o", "two.json")[0] == 0
    second = json.loads(Path("two.json").read_text())["traceEvents"]
    assert [event["name"] for event in second if event["name"].startswith("round ")] == ["round 2"]
    assert len(second) < len(whole)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["last", "--rounds", "4-9"], "no spans of rounds 4 to 9: the run has 3 rounds"),
        (["last", "--rounds", "3-1"], "--rounds: rounds count from 1, and the first comes first"),
        (["last", "--rounds", "0"], "rounds count from 1"),
        (["last", "--rounds", "two"], "expected a round, or the first and the last as in 3-5"),
        (["last", "-o", "no/where.json"], "no/where.json cannot be written: No such file or directory"),
        (["made-01"], "no such run folder; did you mean 'made-001'?"),
    ],
)
def test_what_cannot_be_traced_is_said(call, arguments, said):
    code, out, err = call("trace", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_run_without_single_spans_has_no_trace(tmp_path):
    scenario = small(execution={"trainer": "cost-only", "spans": "rounds"})
    with pytest.raises(ValueError, match=r"kept no single spans \(execution.spans: rounds\)"):
        splitft.run(scenario).write_trace(tmp_path / "t.json")
