"""The local engine hands out cases, survives its workers, and never leaves one behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing

import pytest

from simulator.engines.local import LocalEngine, worker_environment
from simulator.engines.news import News

WORKER = """
import json, os, signal, sys, time
def tell(**news):
    print(json.dumps(news), flush=True)
for line in sys.stdin:
    case = line.strip()
    tell(case=case, kind="begun")
    if case == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if case == "exits":
        sys.exit("no more memory")
    if case == "sleeps":
        time.sleep(60)
    if case == "fails":
        tell(case=case, kind="failed", error="as asked")
        continue
    tell(case=case, kind="round", round=os.getpid())
    tell(case=case, kind="finished")
"""


def engine(folder, jobs, worker=WORKER):
    return LocalEngine(
        [sys.executable, "-c", worker],
        jobs=jobs,
        environment=dict(os.environ),
        working_folder=folder,
        logs=folder / "logs",
    )


def ends(news):
    return {item.case: item.kind for item in news if item.kind in {"finished", "failed"}}


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_every_case_ends_once_and_workers_are_used_again(tmp_path, jobs):
    cases = [f"{number:03d}" for number in range(6)]
    news = list(engine(tmp_path, jobs).run(cases))
    assert sorted(item.case for item in news if item.kind == "finished") == cases
    pids = {item.round for item in news if item.kind == "round"}
    assert 1 <= len(pids) <= min(jobs, 6)
    assert not any(is_alive(pid) for pid in pids)
    assert not (tmp_path / "logs").exists()


def test_a_worker_that_dies_fails_its_case_alone(tmp_path):
    news = list(engine(tmp_path, 2).run(["a", "dies", "b", "exits", "fails", "c"]))
    assert ends(news) == {**dict.fromkeys("abc", "finished"), **dict.fromkeys(("dies", "exits", "fails"), "failed")}
    errors = {item.case: item.error for item in news if item.kind == "failed"}
    assert "SIGKILL" in errors["dies"]
    assert "exit code 1" in errors["exits"]
    assert errors["fails"] == "as asked"
    assert any("no more memory" in log.read_text() for log in (tmp_path / "logs").iterdir())


def test_closing_stops_the_workers(tmp_path):
    worker = WORKER.replace("time.sleep(60)", "tell(case=case, kind='round', round=os.getpid()); time.sleep(60)")
    with closing(engine(tmp_path, 2, worker).run(["sleeps", "sleeps"])) as happening:
        pids = [next(item.round for item in happening if item.kind == "round")]
        assert is_alive(pids[0])
    assert not is_alive(pids[0])


def test_a_worker_that_does_not_stop_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("simulator.engines.local.GRACE_S", 0.2)
    worker = WORKER.replace("import json", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); import json")
    with closing(engine(tmp_path, 1, worker).run(["sleeps"])) as happening:
        assert next(happening) == News(case="sleeps", kind="begun")
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5


def test_no_cases_start_no_worker(tmp_path):
    assert not list(engine(tmp_path, 2).run([]))
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("environment", "threads"),
    [({}, "1"), ({"OMP_NUM_THREADS": "3"}, "3"), ({"MKL_NUM_THREADS": "2"}, None)],
)
def test_workers_compute_with_one_thread_unless_the_user_says_otherwise(environment, threads):
    assert worker_environment(environment).get("OMP_NUM_THREADS") == threads


ORPHAN = """
import sys, threading, os
sys.path[:0] = {path!r}
from splitft import casework
from simulator.engines.news import News
def busy(folder, name, tell):
    tell(News(case=name, kind="round", round=os.getpid()))
    while True:
        sum(range(100_000))  # holds the interpreter's lock, as little else does
casework.attempt = busy
sys.argv = ["casework", {folder!r}]
casework.main()
"""

PARENT = """
import os, sys
sys.path[:0] = {path!r}
from pathlib import Path
from simulator.engines.local import LocalEngine
engine = LocalEngine([sys.executable, "-c", {worker!r}], jobs=1, environment=dict(os.environ),
                     working_folder=Path.cwd(), logs=Path.cwd() / "logs")
for news in engine.run(["001"]):
    print(news.round, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_a_worker_does_not_outlive_its_parent(tmp_path):
    from simulator.study import quick_study
    from simulator.study_folder import StudyFolder

    StudyFolder.create(tmp_path / "study", quick_study("quickstart", {"rounds": [1]}), [])
    worker = textwrap.dedent(ORPHAN.format(path=sys.path, folder=str(tmp_path / "study")))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(path=sys.path, worker=worker)],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until_s = time.monotonic() + 5  # the promise
    while is_alive(pid) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not is_alive(pid)
