"""Runs whose clients are divided between the workers of a Ray cluster are the local runs to the bit."""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import pytest

import splitft
from devices.problems import InputError
from simulator.learning.recipe import recipe_of
from simulator.records.runs import read_meta
from simulator.setting import resolve
from splitft import cli
from splitft.engines import Spread, make_there, spread_by
from splitft.work import TrainerPlan
from tests.small_run import small
from tests.splitft.faked import contents
from tests.splitft.test_resume import ROOT, command, wait_for

JOURNAL = "results/tasks.jsonl"  # in the order in which tasks were done


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splitft.api._save_plots", lambda *_: None)


@pytest.fixture
def ray_here(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="an optional extra", exc_type=ImportError)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))


def plan(**changes: object) -> TrainerPlan:
    setting = resolve(small(execution={"device": "cpu"}))
    numerics = Spread().numerics_of(setting)
    assert numerics is not None
    whole = TrainerPlan.of(setting, recipe_of(setting, numerics))
    return dataclasses.replace(whole, recipe=dataclasses.replace(whole.recipe, **changes))


def test_a_worker_that_would_compute_other_numbers_is_refused_with_the_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = plan()
    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setattr("workloads.machine.processor", lambda: "Other CPU")
    with pytest.raises(InputError) as refused:
        make_there(asked)
    cpu = asked.recipe.numerics.partition("; ")[0]
    assert str(refused.value).startswith(
        "--engine: a worker on node7 would compute other numbers than the machine that"
    )
    assert "There: cpu Other CPU " in str(refused.value)
    assert str(refused.value).endswith(f"; MKL_CBWR=COMPATIBLE. Here: {cpu}")


def test_a_worker_whose_model_is_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    with pytest.raises(InputError, match=r"^workload.model: the model's folder \S+ has other content there .*node7"):
        make_there(plan(model_digest="0" * 64))
    asked = plan()
    files = dataclasses.replace(asked.files, folder=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"nowhere cannot be read: No such file or directory \(a worker on node7\)$"):
        make_there(dataclasses.replace(asked, files=files))


def test_the_numerics_of_workers_are_those_of_one_thread_unless_more_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = resolve(small(execution={"device": "cpu"}))
    for variable, threads in ((None, 1), ("3", 3)):
        monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if variable is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", variable)
        numerics = Spread().numerics_of(setting)
        assert numerics is not None
        assert f"; {threads} threads; " in numerics


def test_what_cannot_be_spread_is_refused() -> None:
    with pytest.raises(InputError, match=r"--jobs: a run is one process here; workers are those of --engine ray"):
        spread_by("local", 2)
    with pytest.raises(InputError, match="--engine: expected local or ray, got 'rey'; did you mean 'ray'"):
        spread_by("rey", None)
    setting = resolve(small())
    one_gpu = dataclasses.replace(setting.scenario.execution, device="cuda:1")
    setting = dataclasses.replace(setting, scenario=dataclasses.replace(setting.scenario, execution=one_gpu))
    with pytest.raises(InputError, match=r"execution\.device: --engine ray gives each worker a GPU of its own"):
        Spread().numerics_of(setting)


def test_without_ray_a_run_says_how_to_get_it_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'splitft\[ray\]'"):
        splitft.run(small(), tmp_path / "run", engine="ray")
    assert not (tmp_path / "run").exists()


def test_a_run_that_learns_nothing_needs_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    scenario = small(rounds=1, execution={"trainer": "cost-only"})
    spread, local = splitft.run(scenario, engine="ray"), splitft.run(scenario)
    assert spread.records.meta["spans_sha256"] == local.records.meta["spans_sha256"]


def test_lost_work_is_told_without_a_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from simulator.engines.lost import LostError

    def lose(*_: object, **__: object) -> None:
        raise LostError("no worker is left")

    monkeypatch.setattr("splitft.commands.run_scenario", lose)
    monkeypatch.setattr(sys, "argv", ["splitft", "run"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert (stop.value.code, capsys.readouterr().err) == (1, "error: no worker is left\n")


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(
    ("protocol", "executor"),
    [("sfl-v1", "sequential"), ("sfl-v1", "fused"), ("fedbuff", "fused"), ("sl", "sequential")],
)
def test_a_spread_run_is_the_local_run_to_the_bit(tmp_path: Path, protocol: str, executor: str) -> None:
    scenario = small(
        protocol={"kind": protocol, **({"buffer_size": 3} if protocol == "fedbuff" else {})},
        policy={"kind": "splitft"},  # reads losses, so that a wrong one would change cuts and times
        execution={"memo": False, "executor": executor, "device": "cpu"},
    )
    expected = splitft.run(scenario, tmp_path / "local")
    run = splitft.run(scenario, tmp_path / "spread", engine="ray", jobs=2)
    assert run.records.meta["spans_sha256"] == expected.records.meta["spans_sha256"]
    assert run.records.meta["numerics"] == expected.records.meta["numerics"]
    found, files = contents(tmp_path / "spread"), contents(tmp_path / "local")
    assert set(found.pop(JOURNAL).splitlines()) == set(files.pop(JOURNAL).splitlines())
    assert found == files  # spans, losses, tables, adapter


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.usefixtures("ray_here")
def test_a_spread_run_that_is_interrupted_leaves_no_process_and_goes_on_with_either_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simulator.scenario import to_yaml

    monkeypatch.setenv("SPLITFT_RESULTS", str(tmp_path / "store"))
    scenario = small(rounds=20, execution={"memo": True, "device": "cpu"})
    (tmp_path / "small.yaml").write_text(to_yaml(scenario))
    process = command("run", "small.yaml", "--out", "out", "--engine", "ray", "--jobs", "2", folder=tmp_path)
    wait_for(tmp_path / "out" / "spans" / "round-000003.parquet", process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "go on with: splitft resume out" in said
    assert read_meta(tmp_path / "out")["status"] == "interrupted"
    assert not [pid for pid in _processes() if str(tmp_path) in _environment(pid)]
    host = splitft.resume(tmp_path / "out").records.meta["host"]
    assert 3 * 3 * 2 <= host["num_steps_remembered"] < 20 * 3 * 2
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "finished"


def _processes() -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*") if path.name != str(os.getpid())]


def _environment(process: Path) -> str:
    try:
        return (process / "environ").read_text(errors="replace")
    except OSError:
        return ""
