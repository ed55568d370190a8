"""A run that was interrupted anywhere ends as if it had not been, or says why it cannot go on."""

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import splitft
from devices.problems import InputError
from simulator.records.recorder import RunLock
from simulator.records.runs import read_meta
from simulator.resume import first_difference
from simulator.scenario import Scenario
from simulator.setting import resolve
from splitft.run_folders import find_run, next_folder
from tests.small_run import SMALL, small
from tests.splitft.faked import Faked, contents, fake
from workloads.run_results import RunResults
from workloads.tasks import TrainTask

ROOT = Path(__file__).parents[2]
NUM_POINTS = 20
# A policy that reads performances, so that a wrong loss would change cuts and with them everything after.
ADAPTIVE = small(rounds=3, policy={"kind": "splitft"}, execution={"memo": False, "executor": "sequential"})
TOGETHER = small(rounds=3, policy={"kind": "splitft"}, execution={"memo": False, "executor": "fused"})


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Faked:
    return fake(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    """Return what an undisturbed run leaves, and how many tasks it takes."""
    with pytest.MonkeyPatch.context() as patch:
        faked = fake(patch)
        run = splitft.run(ADAPTIVE, tmp_path_factory.mktemp("whole") / "run")
    return contents(run.folder), faked.num_done


class Disk:
    """Watches what is written, and copies a folder just before some of it happens: what a kill would leave then."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, copies: Path, moments: frozenset[int]) -> None:
        self.num_events = 0
        self._folder, self._copies, self._moments = folder, copies, moments
        for owner, name in ((os, "fsync"), (os, "link"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")):
            patch.setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if (self._folder / "run.json").exists():
                if self.num_events in self._moments:
                    shutil.copytree(self._folder, self._copies / f"{self.num_events:05d}")
                self.num_events += 1
            return original(*args, **kwargs)

        return call


def interrupted_copies(folder: Path, scenario: Scenario) -> list[Path]:
    """Return copies of a run folder as it was at moments spread over all that the run writes."""
    with pytest.MonkeyPatch.context() as patch:
        fake(patch)
        disk = Disk(patch, folder / "counted", folder, frozenset())
        splitft.run(scenario, folder / "counted")
    moments = frozenset(round((i + 0.5) * disk.num_events / NUM_POINTS) for i in range(NUM_POINTS))
    assert len(moments) == NUM_POINTS
    copies = folder / "copies"
    copies.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        fake(patch)
        Disk(patch, folder / "run", copies, moments)
        splitft.run(scenario, folder / "run")
    return sorted(copies.iterdir())


@pytest.mark.parametrize("scenario", [ADAPTIVE, TOGETHER], ids=["sequential", "fused"])
def test_a_run_that_is_killed_at_any_moment_ends_the_same_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Scenario
) -> None:
    faked = fake(monkeypatch)
    expected = contents(splitft.run(scenario, tmp_path / "whole").folder)
    num_tasks = faked.num_done
    copies = interrupted_copies(tmp_path, scenario)
    assert len(copies) == NUM_POINTS
    left = []
    for copy in copies:
        assert read_meta(copy)["status"] == "running"
        num_known = len(RunResults(copy / "results")._records)
        faked.workers.clear()
        assert splitft.resume(copy).records.meta["status"] == "finished"
        assert contents(copy) == expected, copy.name
        # What was done once is not done again, but for clients of whose group some were done and others not.
        num_again = faked.num_done - (num_tasks - num_known)
        assert num_again == 0 or (scenario is TOGETHER and 0 < num_again < 3), copy.name
        left.append(faked.num_done)
    assert left == sorted(left, reverse=True)
    assert left[0] > num_tasks * 0.8
    assert left[-1] == 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_kill_while_a_record_is_written_costs_that_record(
    tmp_path_factory: pytest.TempPathFactory, whole: tuple[dict[str, bytes], int], faked: Faked, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("runs") / "run"
    faked.workers.clear()
    stop_after(faked, data.draw(st.integers(2, whole[1] - 1)))
    with pytest.raises(KeyboardInterrupt):
        splitft.run(ADAPTIVE, folder)
    journal = folder / "results" / "tasks.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    torn = data.draw(st.integers(0, len(lines[-1]) - 1))
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:torn])
    go_on(faked)
    splitft.resume(folder)
    assert contents(folder) == whole[0]


def test_a_resumed_run_keeps_what_its_overrides_left_out(
    tmp_path: Path, faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splitft.api.resolve", resolve)  # the real one, which makes notes
    text = json.dumps({**SMALL, "policy": {"kind": "splitft", "initial_cut": 3}})
    (tmp_path / "mine.yaml").write_text(text)
    scenario = Scenario.load(tmp_path / "mine.yaml", ["policy.kind=fixed"])
    stop_after(faked, 4)
    with pytest.raises(KeyboardInterrupt):
        splitft.run(scenario, tmp_path / "run")
    go_on(faked)
    dropped = "policy: starts afresh with kind 'fixed'; dropped initial_cut"
    assert splitft.resume(tmp_path / "run").notes == (dropped,)


def stop_after(faked: Faked, num_tasks: int) -> None:
    """Interrupt a run when so many tasks have been computed."""

    def stop(_task: object) -> None:
        if faked.num_done == num_tasks:
            raise KeyboardInterrupt

    faked.on_task = stop


def go_on(faked: Faked) -> None:
    faked.on_task = lambda _task: None


@pytest.mark.parametrize("num_tasks", [0, 1, 4, 9, 14])
def test_an_interrupted_run_says_so_and_goes_on_where_it_stopped(
    tmp_path: Path, whole: tuple[dict[str, bytes], int], faked: Faked, num_tasks: int
) -> None:
    folder = tmp_path / "run"
    stop_after(faked, num_tasks)
    with pytest.raises(KeyboardInterrupt):
        splitft.run(ADAPTIVE, folder)
    if num_tasks == 0:
        assert not folder.exists()  # nothing was finished yet
        return
    assert read_meta(folder)["status"] == "interrupted"
    with pytest.raises(InputError, match=rf"interrupted.*`splitft resume {folder}` goes on with it"):
        splitft.load_run(folder)
    go_on(faked)
    host = splitft.resume(folder).records.meta["host"]
    assert contents(folder) == whole[0]
    assert faked.num_done == whole[1]  # both attempts together do what one would
    computed = [task for task in faked.workers[-1].done if isinstance(task, TrainTask)]
    num_steps = sum(len(task.batches) for task in computed)
    assert host["num_steps_computed"] == num_steps
    assert host["num_steps_computed"] + host["num_steps_remembered"] == 3 * 3 * 2  # rounds, clients, steps


def test_a_run_can_be_interrupted_again_and_again(
    tmp_path: Path, whole: tuple[dict[str, bytes], int], faked: Faked
) -> None:
    folder = tmp_path / "run"
    for attempt, begin in enumerate([lambda: splitft.run(ADAPTIVE, folder), *[lambda: splitft.resume(folder)] * 4]):
        stop_after(faked, 3 * attempt + 2)
        with pytest.raises(KeyboardInterrupt):
            begin()
    go_on(faked)
    splitft.resume(folder)
    assert contents(folder) == whole[0]
    assert faked.num_done == whole[1]


def test_results_that_are_damaged_are_computed_again(
    tmp_path: Path, whole: tuple[dict[str, bytes], int], faked: Faked, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    stop_after(faked, 14)
    with pytest.raises(KeyboardInterrupt):
        splitft.run(ADAPTIVE, folder)
    for state in (folder / "results" / "states").iterdir():
        state.write_bytes(state.read_bytes()[:-1])
    go_on(faked)
    splitft.resume(folder)
    found = contents(folder)
    # Records of what was done twice stand twice in the journal; everything else is as ever.
    journal, expected_journal = found.pop("results/tasks.jsonl"), dict(whole[0])["results/tasks.jsonl"]
    assert set(journal.splitlines()) == set(expected_journal.splitlines())
    assert found == {name: content for name, content in whole[0].items() if name != "results/tasks.jsonl"}
    assert "is damaged (its checksum is wrong)" in caplog.text


def test_a_disk_that_fills_up_loses_nothing(
    tmp_path: Path, whole: tuple[dict[str, bytes], int], faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        from simulator.records import parquet_files

        write, num_left = parquet_files.write_atomic, [2]

        def full(path: Path, data: bytes) -> None:
            num_left[0] -= 1
            if num_left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            write(path, data)

        patch.setattr(parquet_files, "write_atomic", full)
        with pytest.raises(OSError, match="No space left on device"):
            splitft.run(ADAPTIVE, folder)
    assert read_meta(folder)["status"] == "failed"
    before = faked.num_done
    assert before > 5
    splitft.resume(folder)
    assert contents(folder) == whole[0]
    assert faked.num_done == whole[1]


# --- what cannot be gone on with


def interrupted(faked: Faked, folder: Path, scenario: Scenario = ADAPTIVE, **kwargs: Any) -> Path:
    stop_after(faked, 5)
    with pytest.raises(KeyboardInterrupt):
        splitft.run(scenario, folder, **kwargs)
    go_on(faked)
    return folder


def test_a_finished_run_is_read_and_not_run_again(tmp_path: Path, faked: Faked) -> None:
    splitft.run(ADAPTIVE, tmp_path / "run")
    before, num_done = contents(tmp_path / "run"), faked.num_done
    run = splitft.resume(tmp_path / "run")
    assert run.records.meta["status"] == "finished"
    assert (contents(tmp_path / "run"), faked.num_done) == (before, num_done)


def test_a_second_process_is_refused(tmp_path: Path, faked: Faked) -> None:
    folder = interrupted(faked, tmp_path / "run")
    lock = RunLock(folder)
    with pytest.raises(InputError, match=rf"{folder}: another process is at work on this run"):
        splitft.resume(folder)
    assert (folder / ".lock").exists()
    lock.release()
    splitft.resume(folder)
    assert not (folder / ".lock").exists()


def test_a_run_is_locked_while_it_runs(tmp_path: Path, faked: Faked) -> None:
    refused = []

    def try_it(_task: object) -> None:
        with pytest.raises(InputError, match="another process is at work"):
            splitft.resume(tmp_path / "run")
        refused.append(True)

    faked.on_task = try_it
    splitft.run(ADAPTIVE, tmp_path / "run")
    assert refused


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a run folder: it has no run\.json"):
        splitft.resume(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no such run folder"):
        splitft.resume(tmp_path / "none")


def test_other_numerics_are_refused_with_the_first_difference(
    tmp_path: Path, faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    from splitft import api

    here = api.numerics_of
    folder = interrupted(faked, tmp_path / "run")
    before = contents(folder)
    monkeypatch.setattr(api, "numerics_of", lambda setting: re.sub(r"\d+ threads", "64 threads", here(setting) or ""))
    with pytest.raises(
        InputError, match=r"numerics: was '\d+ threads' when the run in .* began and is '64 threads' now"
    ):
        splitft.resume(folder)
    assert contents(folder) == before


YAML = """
rounds: 3
workload: {max_length_tokens: 32, batch_size: 2, local_steps: 2, validation: {frac: 0.05, max_samples: 2}}
fleet: {clients: [{device: mine, network: us-fixed-user-2025, count: 3}]}
policy: {kind: splitft}
evaluation: {max_samples: 16}
execution: {memo: false}
"""
DEVICE = """
type: device
id: mine
tier: sbc
accelerator: cpu
peak_fp32_tflops: 0.1
memory_gib: 8
memory_bandwidth_gbyte_per_s: 10
"""


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "mine.yaml").write_text(DEVICE)
    (folder / "study.yaml").write_text(YAML)
    return folder


@pytest.fixture
def faked_but_resolved(monkeypatch: pytest.MonkeyPatch) -> Faked:
    from simulator.setting import resolve

    faked = fake(monkeypatch)
    monkeypatch.setattr("splitft.api.resolve", resolve)
    return faked


def test_a_catalogue_number_that_has_changed_is_named(
    tmp_path: Path, own_files: Path, faked_but_resolved: Faked
) -> None:
    scenario = Scenario.load(own_files / "study.yaml")
    folder = interrupted(faked_but_resolved, tmp_path / "run", scenario)
    device = own_files / "mine.yaml"
    device.write_text(DEVICE.replace("0.1", "0.2"))
    with pytest.raises(InputError) as refused:
        splitft.resume(folder)
    assert "hardware.devices.mine.peak_flops_per_s.float32: was 100000000000.0 when the run in" in str(refused.value)
    assert "and is 200000000000.0 now: restore what it was, or start a new run" in str(refused.value)
    device.write_text(DEVICE)
    splitft.resume(folder)


def test_a_scenario_file_that_has_changed_is_named(tmp_path: Path, own_files: Path, faked_but_resolved: Faked) -> None:
    file = own_files / "study.yaml"
    scenario = Scenario.load(file, ["workload.batch_size=4"])
    folder = interrupted(faked_but_resolved, tmp_path / "run", scenario)
    file.write_text(YAML.replace("rounds: 3", "rounds: 5").replace("batch_size: 2", "batch_size: 8"))
    with pytest.raises(InputError, match=rf"{file}: rounds: was 3 when the run in {folder} began and is 5 now"):
        splitft.resume(folder)
    # How the work is done, the name, and what --set had changed anyway do not matter.
    file.write_text(
        f"name: other\n{YAML}".replace("batch_size: 2", "batch_size: 8").replace("memo: false", "memo: true")
    )
    assert splitft.resume(folder).records.meta["scenario"]["workload"]["batch_size"] == 4


def test_a_run_goes_on_from_any_folder_and_without_its_scenario_file(
    tmp_path: Path, own_files: Path, faked_but_resolved: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    (own_files / "mine.yaml").rename(tmp_path / "a" / "mine.yaml")
    shutil.copy(own_files / "study.yaml", tmp_path / "study.yaml")
    scenario = Scenario.load(tmp_path / "study.yaml")
    interrupted(faked_but_resolved, tmp_path / "run", scenario, catalogue=[Path()])
    (tmp_path / "study.yaml").unlink()
    monkeypatch.chdir(tmp_path / "b")
    splitft.resume("../run")
    assert Path.cwd() == tmp_path / "b"
    splitft.run(scenario, "fresh", catalogue=["../a"])
    assert contents(tmp_path / "b" / "fresh") == contents(tmp_path / "run")


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ("a.b.1", 2, 3)),
        ({"a": [1]}, {"a": [1, 2]}, ("a.1", None, 2)),
        ({"a": [{"id": "x", "v": 1}]}, {"a": [{"id": "x", "v": 2}]}, ("a.x.v", 1, 2)),
        ({"a": 1, "b": 2}, {"b": 3}, ("a", 1, None)),
        ({"a": {"b": 1}}, {"a": 5}, ("a", {"b": 1}, 5)),
    ],
)
def test_the_first_difference_is_the_first_in_the_order_of_keys(
    before: dict[str, Any], now: dict[str, Any], expected: tuple[str, object, object] | None
) -> None:
    difference = first_difference(before, now)
    assert (None if difference is None else (difference.key, difference.before, difference.now)) == expected


# --- by the command line


def command(*arguments: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "splitft", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])},
    )


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists(), process.communicate()


LONG = ("run", "cost-only-phones", "--set", "fleet.count=3", "--set", "rounds=100000", "--out", "out")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_run_that_can_go_on_and_says_how(tmp_path: Path, number: signal.Signals) -> None:
    process = command(*LONG, folder=tmp_path)
    wait_for(tmp_path / "out" / "spans" / "round-000002.parquet", process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "out keeps what was done; go on with: splitft resume out" in said
    assert "Traceback" not in said
    assert read_meta(tmp_path / "out")["status"] == "interrupted"
    assert not (tmp_path / "out" / ".lock").exists()


def test_a_killed_run_goes_on_by_the_command_line_and_a_second_process_does_not(tmp_path: Path) -> None:
    process = command(*LONG, folder=tmp_path)
    wait_for(tmp_path / "out" / "spans" / "round-000002.parquet", process)
    second = command("resume", "out", folder=tmp_path)
    _, said = second.communicate(timeout=60)
    assert second.returncode == 2
    assert said == "error: out: another process is at work on this run\n"
    process.kill()
    process.communicate()
    assert read_meta(tmp_path / "out")["status"] == "running"
    # No test waits for 100,000 rounds: that it goes on is seen from its first spans, which are written anew.
    first = tmp_path / "out" / "spans" / "round-000001.parquet"
    before = first.stat().st_ino
    process = command("resume", "out", folder=tmp_path)
    deadline = time.monotonic() + 60
    while first.stat().st_ino == before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert first.stat().st_ino != before
    process.kill()
    process.communicate()


def test_resuming_a_finished_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from splitft.commands import resume_run

    monkeypatch.chdir(tmp_path)
    splitft.run(small(execution={"trainer": "cost-only"}), "runs/small-001")
    for name in ("last", "small-001", "runs/small-001"):
        resume_run(name, as_json=False, quiet=False)
        assert capsys.readouterr().out == "runs/small-001 is finished: there is nothing to resume.\n"
    resume_run("last", as_json=True, quiet=False)
    assert json.loads(capsys.readouterr().out)["folder"] == "runs/small-001"


def test_last_is_the_run_that_was_begun_or_ended_last(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(InputError, match="there is no run in"):
        find_run("last", runs)
    for age, name in enumerate(["b-001", "a-002", "c-001"]):
        (runs / name).mkdir(parents=True)
        (runs / name / "run.json").write_text("{}")
        os.utime(runs / name / "run.json", (1e9 - age,) * 2)
    assert find_run("last", runs) == runs / "b-001"
    assert find_run("a-002", runs) == find_run(str(runs / "a-002"), runs) == runs / "a-002"
    with pytest.raises(InputError, match=r"a-003: no such run folder; did you mean 'a-002'\?"):
        find_run("a-003", runs)
    assert next_folder("a", runs) == runs / "a-003"


# --- for real


@pytest.mark.torch
@pytest.mark.parametrize(
    ("scenario", "num_tasks", "num_remembered"),
    # Stopped after the first client of the second round. Clients that are trained together are so again.
    [(ADAPTIVE, 4, 4), (TOGETHER, 4, 3)],
    ids=["sequential", "fused"],
)
def test_real_training_goes_on_to_the_same_end_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: Scenario, num_tasks: int, num_remembered: int
) -> None:
    from workloads.trainer import TorchTrainer

    train, num_trained = TorchTrainer.train, [0]

    def stop(self: TorchTrainer, tasks: Any, on_result: Any, *rest: Any) -> Any:
        def count(result: Any) -> None:
            on_result(result)
            num_trained[0] += 1
            if num_trained[0] == num_tasks:
                raise KeyboardInterrupt

        return train(self, tasks, count, *rest)

    monkeypatch.setattr("splitft.api._save_plots", lambda *_: None)
    expected = contents(splitft.run(scenario, tmp_path / "whole").folder)
    monkeypatch.setattr(TorchTrainer, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        splitft.run(scenario, tmp_path / "run")
    host = splitft.resume(tmp_path / "run").records.meta["host"]
    assert contents(tmp_path / "run") == expected
    assert host["num_steps_remembered"] == num_remembered * 2


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("executor", ["sequential", "fused"])
@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_is_really_killed_ends_the_same_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, executor: str
) -> None:
    """`kill -9` at random moments until the run gets through; torch, threads, store and all."""
    from simulator.scenario import to_yaml

    monkeypatch.setenv("SPLITFT_RESULTS", str(tmp_path / "store"))
    scenario = small(rounds=4, policy={"kind": "splitft"}, execution={"executor": executor})
    (tmp_path / "small.yaml").write_text(to_yaml(scenario))
    draws = random.Random(seed)
    arguments, statuses = ("run", "small.yaml", "--out", "out", "-q"), []
    for num_tasks in sorted(draws.sample(range(1, 32), 5)):
        statuses.append(kill_after(num_tasks, draws.uniform(0, 0.2), command(*arguments, folder=tmp_path), tmp_path))
        arguments = ("resume", "out", "-q")
    finished = command(*arguments, folder=tmp_path)
    assert finished.communicate()[1] == ""
    assert statuses.count(-signal.SIGKILL) >= 3  # the last ones may come too late
    undisturbed = command("run", "small.yaml", "--out", "undisturbed", "--no-memo", "-q", folder=tmp_path)
    assert undisturbed.communicate()[1] == ""
    assert finished.returncode == undisturbed.returncode == 0
    found, expected = contents(tmp_path / "out"), contents(tmp_path / "undisturbed")
    # A record may stand twice, and results of the store's own are the same as those of a run without one.
    journals = [set(files.pop("results/tasks.jsonl").splitlines()) for files in (found, expected)]
    assert journals[0] == journals[1]
    assert found == expected


def kill_after(num_tasks: int, delay_s: float, process: "subprocess.Popen[str]", folder: Path) -> int:
    """Kill a run some time after it has done so many tasks, and return how it ended."""
    journal = folder / "out" / "results" / "tasks.jsonl"
    while process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") >= num_tasks:
            time.sleep(delay_s)
            process.kill()
        time.sleep(0.005)
    assert "Traceback" not in process.communicate()[1]
    return process.returncode


def test_the_small_scenario_keeps_to_itself() -> None:
    assert SMALL["execution"] == {"memo": False}
