"""Whole sweeps, with the clock alone where nothing needs to be learned."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

import splitft
from devices.problems import InputError
from simulator.records.runs import read_meta
from simulator.records.studies import is_study
from simulator.study import quick_study
from splitft.studies import Settings, begin_sweep, resume_sweep
from tests.small_run import SMALL

ROOT = Path(__file__).parents[2]
COUNTED = {"execution.trainer": "cost-only", "rounds": 2, "workload.local_steps": 1}
COUNTED_ONCE = {"execution.trainer": "cost-only", "rounds": 1, "workload.local_steps": 1}
GRID = {"policy.kind": ["fixed", "splitft"], "server.slots": [1, 2]}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    return splitft.sweep(
        quick_study("quickstart", GRID, seeds=2, set=COUNTED), tmp_path_factory.mktemp("s") / "study", jobs=1
    )


def contents(folder):
    """Return all files of the cases' run folders but run.json, which says how long it took."""
    files = (path for path in sorted((folder / "cases").rglob("*")) if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_case_is_what_a_single_run_gives(swept, tmp_path):
    overrides = ["policy.kind=splitft", "server.slots=1", *(f"{key}={value}" for key, value in COUNTED.items())]
    alone = splitft.run(splitft.Scenario.load("quickstart", [*overrides, "seed=1"]), tmp_path / "alone")
    case = swept.run("006")  # 4 combinations of two seeds: splitft with one slot is the third
    assert case.records.meta["fingerprint"] == alone.records.meta["fingerprint"]
    assert case.records.meta["spans_sha256"] == alone.records.meta["spans_sha256"]
    assert not (case.folder / "plots").exists()
    assert (alone.folder / "plots").exists()


def test_the_frame_has_a_row_for_each_case_in_base_units(swept):
    frame = swept.frame()
    assert list(frame["case"]) == [f"{number:03d}" for number in range(1, 9)]
    assert list(frame["seed"]) == [0, 1] * 4
    assert list(frame["policy.kind"]) == ["fixed"] * 4 + ["splitft"] * 4
    first = swept.run("001")
    assert frame["simulated_s"].iloc[0] == first.summary.simulated_s
    assert frame["sent_bytes"].iloc[0] == first.spans["num_bytes"].sum()
    assert frame["perplexity"].isna().all()  # nothing was learned


def test_any_number_of_workers_gives_the_same_frame_and_files(swept, tmp_path):
    again = splitft.sweep(quick_study("quickstart", GRID, seeds=2, set=COUNTED), tmp_path / "again", jobs=2)
    assert_frame_equal(again.frame(), swept.frame(), check_exact=True)
    assert contents(again.folder) == contents(swept.folder)


@pytest.mark.slow
def test_ray_gives_the_same_frame_and_files(swept, tmp_path):
    pytest.importorskip("ray", reason="an optional extra", exc_type=ImportError)
    done = in_process(tmp_path, "sweep", *quick_arguments(), "--engine", "ray", "--jobs", "2", "--out", "again")
    assert done.returncode == 0, done.stderr
    again = splitft.load_swept(tmp_path / "again")
    assert_frame_equal(again.frame(), swept.frame(), check_exact=True)
    assert contents(again.folder) == contents(swept.folder)


@pytest.mark.slow
def test_a_ray_cluster_that_cannot_be_reached_is_said(tmp_path):
    pytest.importorskip("ray", reason="an optional extra", exc_type=ImportError)
    done = in_process(
        tmp_path, "sweep", *quick_arguments(), "--engine", "ray", "--quiet",
        env={"RAY_ADDRESS": "127.0.0.1:1", "RAY_gcs_rpc_server_reconnect_timeout_s": "1"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "RAY_ADDRESS" in done.stderr
    assert "127.0.0.1:1 cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_ray_its_engine_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'splitft\[ray\]'"):
        splitft.sweep(quick_study("quickstart", {"server.slots": [1]}, set=COUNTED_ONCE), tmp_path / "s", engine="ray")


def quick_arguments():
    varied = [f"--vary={key}={','.join(map(str, values))}" for key, values in GRID.items()]
    return [
        "--base",
        "quickstart",
        *varied,
        "--seeds",
        "2",
        *(f"--set={key}={value}" for key, value in COUNTED.items()),
    ]


def in_process(folder, *arguments, env=None):
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])  # where Ray may be
    environment = {**os.environ, "PYTHONPATH": path, **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "splitft", *arguments], cwd=folder, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_quick_form_prints_what_came_out(call):
    code, out, _ = call(
        "sweep", "--base", "quickstart", "--vary", "fleet.mixture=phones-2024,edge-lab", "--jobs", "1",
        "--set", "execution.trainer=cost-only", "--set", "rounds=1",
    )  # fmt: skip
    assert code == 0
    assert out.count("finished") == 2
    assert "training steps: 0 computed, 0 remembered" in out
    assert is_study(Path("studies/quickstart-sweep-001"))
    code, out, _ = call("sweep", "studies/quickstart-sweep-001", "--json")
    told = json.loads(out)
    assert [case["fleet.mixture"] for case in told["cases"]] == ["phones-2024", "edge-lab"]
    assert told["failures"] == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a study"),
        (("--base", "quickstart"), "nothing varies"),
        (("--base", "quikstart", "--vary", "rounds=1"), "did you mean 'quickstart'"),
        (("--base", "quickstart", "--vary", "polcy.kind=fixed"), "did you mean 'policy'"),
        (("--base", "quickstart", "--vary", "rounds="), "expected KEY=VALUE,VALUE"),
        (("--base", "quickstart", "--vary", "rounds=1,0"), "[case 002 (rounds=0, seed 0)]"),
        (("--base", "quickstart", "--vary", "server.device=nvidia-a100-80gb-sxm,tpu"), "[case 002 (server.device=tpu"),
        (("--base", "quickstart", "--vary", "execution.device=cpu,cuda:9"), "[case 002 (execution.device=cuda:9"),
        (("--base", "quickstart", "--vary", "rounds=1", "--engine", "rey"), "did you mean 'ray'"),
        (("--base", "quickstart", "--vary", "rounds=1", "--seeds", "0"), "at least 1"),
        (("no-such-study",), "no such file"),
        (("study.yaml", "--seeds", "2"), "--seeds: a study's file says this already"),
        (("study.yaml",), "no metric 'perplexty'"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_runs(call, arguments, said):
    Path("study.yaml").write_text("base: quickstart\nvary: {rounds: [1]}\nmetrics: [perplexty]\n")
    code, _, err = call("sweep", *arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not Path("studies").exists()


COUNT = ["--set=execution.trainer=cost-only", "--set=rounds=1", "--jobs=1"]

FAILING = """
import sys
sys.path[:0] = {path!r}
from splitft import casework
run_case = casework.run_case
def sometimes(folder, case, watch):
    from pathlib import Path
    if case.varied["server.slots"] == 2 and not Path("repaired").exists():
        raise OSError("no such luck")
    run_case(folder, case, watch)
casework.run_case = sometimes
sys.argv = ["casework", sys.argv[-1]]
casework.main()
"""


def test_a_failed_case_is_kept_does_not_stop_others_and_can_be_run_again(call, monkeypatch):
    from simulator.engines import local

    def failing(command, **settings):
        return local.LocalEngine([sys.executable, "-c", FAILING.format(path=sys.path), command[-1]], **settings)

    monkeypatch.setattr("splitft.studies.LocalEngine", failing)
    code, out, err = call("sweep", *quick_arguments()[:2], "--vary=server.slots=1,2,3", *COUNT, "--out", "s")
    assert code == 1
    assert (out.count("finished"), out.count("failed")) == (2, 1)
    assert "case 002 failed: OSError: no such luck" in err
    assert "--retry-failed" in err
    assert "no such luck" in "".join(log.read_text() for log in Path("s/logs").iterdir())

    code, out, _ = call("sweep", "s")  # nothing is left but failed ones
    assert code == 1
    assert list(splitft.load_swept("s").failures) == ["002"]

    Path("repaired").touch()
    code, out, err = call("sweep", "s", "--retry-failed")
    assert code == 0, err
    assert out.count("finished") == 3
    assert not splitft.load_swept("s").failures


def test_a_study_that_is_finished_has_nothing_to_go_on_with(swept):
    before = {path: path.stat().st_mtime_ns for path in swept.folder.rglob("run.json")}
    assert_frame_equal(resume_sweep(swept.folder, Settings()).frame(), swept.frame())
    assert {path: path.stat().st_mtime_ns for path in swept.folder.rglob("run.json")} == before


def test_a_study_goes_on_as_it_began_whatever_its_files_say_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("rounds: 1\nfleet: {mixture: edge-lab, count: 2}\nexecution: {trainer: cost-only}\n")
    Path("s.yaml").write_text("base: own.yaml\nseeds: 2\n")
    first = splitft.sweep("s.yaml", "out", jobs=1).frame()
    run = tmp_path / "out" / "cases" / "002" / "run.json"
    run.unlink()
    Path("own.yaml").unlink()
    Path("s.yaml").unlink()
    assert_frame_equal(resume_sweep(Path("out"), Settings(jobs=1)).frame(), first)


def rewrite(file, before, after):
    file.write_text(file.read_text().replace(before, after))


def fail_badly(folder):
    (folder / "cases" / "001" / "run.json").unlink()
    (folder / "failures").mkdir()
    (folder / "failures" / "001.json").write_text("[]")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "study.json").write_text("{"), "damaged study folder"),
        (lambda folder: (folder / "study.json").write_text('{"schema": 9, "cases": []}'), "written with schema 9"),
        (lambda folder: (folder / "study.json").write_text('{"schema": 1, "cases": 3}'), "damaged study folder"),
        (lambda folder: rewrite(folder / "study.json", '"id"', '"number"'), "damaged study folder"),
        (lambda folder: rewrite(folder / "study.json", '"factors"', '"keys"'), "damaged study folder"),
        (lambda folder: (folder / "cases" / "001" / "run.json").write_text('{"schema": 9, "status": "x"}'), "schema 9"),
        (fail_badly, "001.json: damaged study folder"),
    ],
)
def test_a_folder_that_cannot_be_read_is_said(call, damage, said):
    splitft.sweep(quick_study("quickstart", {"server.slots": [1]}, set=COUNTED_ONCE), "s", jobs=1)
    damage(Path("s"))
    for command in (["sweep", "s"], ["table", "s"], ["compare", "s"]):
        code, _, err = call(*command)
        assert code == 2
        assert said in err


def test_another_sweep_of_the_same_study_is_refused(swept):
    from simulator.study_folder import StudyFolder

    lock = StudyFolder.open(swept.folder).lock()
    with pytest.raises(InputError, match="another process is at work on this study"):
        resume_sweep(swept.folder, Settings())
    lock.release()


def test_a_study_folder_is_never_written_over(tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(InputError, match="exists"):
        splitft.sweep(quick_study("quickstart", {"server.slots": [1]}, set=COUNTED_ONCE), tmp_path / "s")


def test_a_folder_that_another_sweep_makes_meanwhile_is_left_to_it(tmp_path, call, monkeypatch):
    from simulator.study_folder import StudyFolder

    taken, create = [], StudyFolder.create

    def late(path, *arguments):
        if not taken:
            path.mkdir(parents=True)
            taken.append(path)
        return create(path, *arguments)

    monkeypatch.setattr("splitft.studies.StudyFolder.create", late)
    arguments = ["sweep", "--base", "quickstart", "--vary=server.slots=1", *COUNT]
    code, _, err = call(*arguments)
    assert (code, [path.name for path in taken]) == (0, ["quickstart-sweep-001"]), err
    assert is_study(Path("studies/quickstart-sweep-002"))
    taken.clear()
    code, _, err = call(*arguments, "--out", "mine")
    assert code == 2
    assert "--out: mine exists" in err
    assert not any(Path("mine").iterdir())


def test_a_folder_that_cannot_be_made_is_a_problem_of_the_input(call, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("splitft.studies.StudyFolder.create", refuse)
    code, _, err = call("sweep", "--base", "quickstart", "--vary=server.slots=1", *COUNT, "--out", "mine")
    assert code == 2
    assert "--out: mine cannot be made: Permission denied" in err


def test_a_study_named_with_out_is_gone_on_with_and_never_begun_again(swept, call):
    code, _, err = call("sweep", "--base", "quickstart", "--vary=server.slots=1", *COUNT, "--out", str(swept.folder))
    assert code == 2
    assert f"go on with it by: splitft sweep {swept.folder}" in err


def test_cases_that_come_to_the_same_scenario_are_refused(call):
    varied = ["--vary", "policy={kind: fixed, cut: 1},{kind: fixed, cut: 2}", "--vary", "policy.cut=3"]
    code, _, err = call("sweep", "--base", "quickstart", *varied, *COUNT)
    assert code == 2
    assert "asked for twice: case 002 (policy={kind: fixed, cut: 2}, policy.cut=3, seed 0) is case 001" in err
    assert "another key overrides" in err
    assert not Path("studies").exists()


@pytest.mark.parametrize("options", [["--json"], []])
def test_a_case_that_cannot_be_read_at_the_end_is_said(call, options):
    splitft.sweep(quick_study("quickstart", {"server.slots": [1]}, set=COUNTED_ONCE), "s", jobs=1)
    Path("s/cases/001/rounds.parquet").write_bytes(b"nothing")
    code, _, err = call("sweep", "s", *options)
    assert code == 2
    assert "001/rounds.parquet: damaged run folder" in err


def test_json_has_every_number_in_full_and_no_value_where_there_is_none(swept, call):
    code, out, _ = call("sweep", str(swept.folder), "--json")
    assert code == 0
    cases = json.loads(out, parse_constant=pytest.fail)["cases"]
    assert [case["simulated_s"] for case in cases] == swept.frame()["simulated_s"].tolist()
    assert {case["perplexity"] for case in cases} == {None}


def test_the_table_shows_a_section_as_it_is_written(call):
    varied = "policy={kind: fixed, cut: 1},{kind: fixed, cut: 2}"
    _, out, _ = call("sweep", "--base", "quickstart", "--vary", varied, *COUNT)
    assert "{kind: fixed, cut: 2}" in out


def test_checking_is_told_case_by_case(tmp_path):
    told = []
    study = quick_study("quickstart", {"server.slots": [1, 2]}, set=COUNTED_ONCE)
    begin_sweep(study, tmp_path / "s", [], Settings(jobs=1, on_check=lambda *news: told.append(news)))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_a_sweep_that_is_killed_again_and_again_ends_as_if_it_had_not_been(swept, tmp_path):
    moments, arguments = random.Random(6), ["sweep", *quick_arguments(), "--out", "s", "--jobs", "2", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-m", "splitft", *arguments], cwd=tmp_path, env=environment)
        until_s = time.monotonic() + 30
        while not is_study(tmp_path / "s") and process.poll() is None and time.monotonic() < until_s:
            time.sleep(0.02)
        time.sleep(moments.uniform(0.5, 2.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        arguments = ["sweep", "s", "--jobs", "2", "--quiet"]
    assert in_process(tmp_path, *arguments).returncode == 0
    done = splitft.load_swept(tmp_path / "s")
    assert_frame_equal(done.frame(), swept.frame(), check_exact=True)
    assert contents(done.folder) == contents(swept.folder)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupted_sweep_stops_cleanly_and_says_how_to_go_on(tmp_path):
    arguments = ["--base", "quickstart", "--vary", "rounds=4000", "--set", "execution.trainer=cost-only", "--out", "s"]
    process = subprocess.Popen(
        [sys.executable, "-m", "splitft", "sweep", *arguments], cwd=tmp_path, text=True, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    run = tmp_path / "s" / "cases" / "001"
    until_s = time.monotonic() + 30
    while not list(run.glob("spans/*")) and time.monotonic() < until_s:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "go on with: splitft sweep s" in err
    assert read_meta(run)["status"] == "interrupted"


@pytest.mark.torch
def test_workers_at_the_same_time_train_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITFT_RESULTS", str(tmp_path / "results"))
    base = tmp_path / "small.yaml"
    base.write_text(json.dumps({**SMALL, "rounds": 1, "execution": {}}))
    done = splitft.sweep(quick_study(str(base), {"server.slots": [1, 2, 3]}), tmp_path / "s", jobs=2)
    assert not done.failures
    hosts = [case.run.meta["host"] for case in done.records.finished]
    assert sum(host["num_steps_computed"] for host in hosts) == 6  # 3 clients, 2 steps: only the server differs
    assert sum(host["num_steps_remembered"] for host in hosts) == 12
    assert sum(host["num_evals_computed"] for host in hosts) == 2  # before and after the round
    alone = splitft.run(splitft.Scenario.load(base, ["execution.memo=false", "server.slots=3"]))
    last = done.frame().iloc[-1]
    assert last["simulated_s"] == alone.summary.simulated_s
    assert last["perplexity"] == alone.evals["perplexity"].iloc[-1]
