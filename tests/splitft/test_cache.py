"""Nothing is computed twice: what a run needs of earlier runs it takes from the store, and says so."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import splitft
from devices.problems import InputError
from simulator.scenario import Scenario
from splitft.caching import clear, show_info
from tests.small_run import SMALL, small
from tests.splitft.faked import Faked, fake, resolve_once
from tests.splitft.test_imports import run_python
from workloads import numerics
from workloads.store import ResultStore

MEMO = {"memo": True}
NUM_STEPS, NUM_EVALS = 2 * 3 * 2, 3  # rounds, clients, steps; before training and after each round


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPLITFT_RESULTS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Faked:
    return fake(monkeypatch, inline=False)


def workload(**changes: object) -> dict[str, object]:
    return {**SMALL["workload"], **changes}


def counts(run: splitft.Run) -> dict[str, int]:
    host = run.records.meta["host"]
    return {key: value for key, value in host.items() if key.startswith("num_")}


COMPUTED = {
    "num_steps_computed": NUM_STEPS, "num_steps_remembered": 0,
    "num_evals_computed": NUM_EVALS, "num_evals_remembered": 0,
}  # fmt: skip
REMEMBERED = {
    "num_steps_computed": 0, "num_steps_remembered": NUM_STEPS,
    "num_evals_computed": 0, "num_evals_remembered": NUM_EVALS,
}  # fmt: skip


def exported(run: splitft.Run) -> dict[str, bytes]:
    assert run.folder is not None
    return {path.name: path.read_bytes() for path in sorted((run.folder / "adapter").iterdir())}


OTHER_HARDWARE = [
    {},
    {"fleet": {"clients": [{"device": "apple-m2-16gb", "network": "wifi5-2x2-cap", "count": 3}]}},
    {"fleet": {"mixture": "phones-2024", "count": 3}, "availability": {"kind": "always-on"}},
    {"server": {"device": "rtx-3060-12gb", "network": "us-fixed-user-2025", "slots": 2}},
    {"name": "renamed", "label": "the same"},
    {"seed": {"fleet": 7, "data": 0, "training": 0}},
]


@pytest.mark.parametrize("changes", OTHER_HARDWARE, ids=lambda changes: "".join(changes) or "again")
def test_a_second_run_and_other_hardware_train_and_measure_nothing(
    tmp_path: Path, faked: Faked, changes: dict[str, object]
) -> None:
    first = splitft.run(small(execution=MEMO), tmp_path / "first")
    assert counts(first) == COMPUTED
    second = splitft.run(small(execution=MEMO, **changes), tmp_path / "second")
    assert counts(second) == REMEMBERED
    assert len(faked.workers) == 1
    assert exported(second) == exported(first)
    assert second.evals.drop(columns="time_s").equals(first.evals.drop(columns="time_s"))


def test_the_closing_table_says_what_was_remembered(tmp_path: Path, faked: Faked) -> None:
    import io

    from rich.console import Console

    from splitft.closing import closing_table

    for expected in (f"{NUM_STEPS} computed, 0 remembered", f"0 computed, {NUM_STEPS} remembered"):
        page = io.StringIO()
        run = splitft.run(small(execution=MEMO))
        Console(file=page, width=200).print(closing_table(run, resolve_once(small(execution=MEMO))))
        assert re.search(rf"training steps\s+{expected}", page.getvalue())


def test_without_reduced_ranks_two_fixed_cuts_share_all_training(tmp_path: Path, faked: Faked) -> None:
    lora = {"cut_rank_sides": "none"}
    shallow, deep = (
        splitft.run(
            small(workload=workload(lora=lora), policy={"kind": "fixed", "cut": cut}, execution=MEMO),
            tmp_path / str(cut),
        )
        for cut in (1, 6)
    )
    assert (counts(shallow), counts(deep)) == (COMPUTED, REMEMBERED)
    assert exported(shallow) == exported(deep)
    assert shallow.records.meta["spans_sha256"] != deep.records.meta["spans_sha256"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": {"fleet": 0, "data": 0, "training": 1}},
        {"workload": workload(batch_size=3)},
        {"workload": workload(optimizer={"kind": "adamw", "learning_rate": 1e-3})},
        {"workload": workload(lora={"rank": 16, "cut_rank": 4})},
        {"policy": {"kind": "fixed", "cut": 3}},  # the reduced rank moves with the cut
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_mathematics_is_trained(tmp_path: Path, faked: Faked, changes: dict[str, object]) -> None:
    splitft.run(small(execution=MEMO), tmp_path / "first")
    second = counts(splitft.run(small(execution=MEMO, **changes), tmp_path / "second"))
    assert second["num_steps_computed"] > 0
    assert second["num_steps_remembered"] == 0


def test_more_rounds_train_only_those(tmp_path: Path, faked: Faked) -> None:
    splitft.run(small(execution=MEMO), tmp_path / "first")
    longer = counts(splitft.run(small(execution=MEMO, rounds=3), tmp_path / "second"))
    assert longer["num_steps_computed"] == NUM_STEPS / 2
    assert longer["num_steps_remembered"] == NUM_STEPS


def test_without_memo_nothing_is_taken_and_nothing_left(tmp_path: Path, faked: Faked, store: Path) -> None:
    for name in ("first", "second"):
        assert counts(splitft.run(small(execution={"memo": False}), tmp_path / name)) == COMPUTED
    assert not store.exists()


def test_a_run_in_memory_remembers_too(faked: Faked) -> None:
    assert counts(splitft.run(small(execution=MEMO))) == COMPUTED
    assert counts(splitft.run(small(execution=MEMO))) == REMEMBERED


def test_a_cost_only_run_asks_nobody(faked: Faked, store: Path) -> None:
    run = splitft.run(small(execution={"trainer": "cost-only"}))
    assert set(counts(run).values()) == {0}
    assert not store.exists()


@pytest.mark.parametrize("name", ["lora.py", "optimizer.py", "split.py", "aggregate.py"])
def test_editing_a_source_file_of_the_mathematics_forces_recomputation(
    tmp_path: Path, faked: Faked, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    splitft.run(small(execution=MEMO))
    edited = tmp_path / "sources"
    edited.mkdir()
    for source in numerics.MATHEMATICS:
        shutil.copy(numerics.SOURCES / source, edited)
    monkeypatch.setattr(numerics, "SOURCES", edited)
    assert counts(splitft.run(small(execution=MEMO))) == REMEMBERED  # a copy is no edit
    with (edited / name).open("a", encoding="utf-8") as file:
        file.write("# another way\n")
    assert counts(splitft.run(small(execution=MEMO))) == COMPUTED


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_store_costs_time_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, faked: Faked, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    monkeypatch.setenv("SPLITFT_RESULTS", str(folder / "store"))
    first = splitft.run(small(execution=MEMO), folder / "first")
    files = sorted(path for path in (folder / "store").rglob("*") if path.suffix in {".json", ".safetensors"})
    for file in data.draw(st.lists(st.sampled_from(files), unique=True, min_size=1)):
        content = file.read_bytes()
        file.write_bytes(data.draw(st.sampled_from([b"", content[:-1], content[::-1]])))
    second = splitft.run(small(execution=MEMO), folder / "second")
    assert exported(second) == exported(first)
    assert second.evals.equals(first.evals)
    assert counts(splitft.run(small(execution=MEMO)))["num_steps_computed"] == 0  # what was damaged is there again


def test_a_store_that_cannot_be_written_is_one_warning(
    tmp_path: Path, faked: Faked, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPLITFT_RESULTS", str(tmp_path / "file" / "store"))
    run = splitft.run(small(execution=MEMO), tmp_path / "run")
    assert counts(run) == COMPUTED
    assert len(caplog.records) == 1
    assert "the run goes on without" in caplog.text


def test_the_bound_of_the_store_is_kept_by_a_run(
    tmp_path: Path, faked: Faked, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    splitft.run(small(execution=MEMO, rounds=4))
    unbounded = ResultStore(store).size().num_bytes
    shutil.rmtree(store)
    monkeypatch.setenv("SPLITFT_RESULTS_GIB", str(unbounded / 2 / 2**30))
    splitft.run(small(execution=MEMO, rounds=4))
    assert 0 < ResultStore(store).size().num_bytes <= unbounded / 2
    monkeypatch.setenv("SPLITFT_RESULTS_GIB", "much")
    with pytest.raises(InputError, match="SPLITFT_RESULTS_GIB: expected a number of GiB above 0, got 'much'"):
        splitft.run(small(execution=MEMO))


# --- the commands


def test_info_and_clear_say_what_there_is(faked: Faked, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splitft.run(small(execution=MEMO))
    show_info(json_=True)
    facts = json.loads(capsys.readouterr().out)
    # The first adapter, 2 x 3 trainings and 2 aggregations make a state; 3 evaluations do not.
    assert (facts["num_results"], facts["num_states"]) == (12, 9)
    assert facts["folder"] == str(store)
    assert facts["max_bytes"] == 5 * 2**30
    assert 0 < facts["num_bytes"] < 1e6
    show_info()
    assert re.search(r"size\s+0\.000 of at most 5\.000 GiB", capsys.readouterr().out)
    clear()
    assert capsys.readouterr().out == f"Forgot 12 results (0.000 GiB) in {store}.\n"
    show_info(json_=True)
    assert json.loads(capsys.readouterr().out)["num_bytes"] == 0


def test_clearing_leaves_what_a_running_process_needs(
    faked: Faked, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splitft.run(small(execution=MEMO))
    running = ResultStore(store)
    records = (running.recall(path.stem) for path in sorted(store.rglob("*.json")))
    record = next(record for record in records if record is not None and record.state is not None)
    running.note(record)
    clear()
    assert "1 states are in use by running processes" in capsys.readouterr().out
    assert running.load(record) is not None
    running.close()


def test_the_command_line_can_do_without_memo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from splitft import commands
    from splitft.cli import app

    asked: list[Scenario] = []

    def stop(scenario: Scenario, **_: object) -> None:
        asked.append(scenario)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "resolve", stop)
    monkeypatch.chdir(tmp_path)
    for flags in ([], ["--memo"], ["--no-memo"]):
        CliRunner().invoke(app, ["run", "quickstart", *flags])
    assert [scenario.execution.memo for scenario in asked] == [True, True, False]


# --- for real

RUN = """
import sys
sys.argv = ["splitft", "run", "small.yaml", "-q", *{arguments!r}]
from splitft.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0, f"exit {{stop.code}}"
"""


@pytest.mark.torch
def test_a_run_whose_every_task_is_remembered_imports_no_torch(tmp_path: Path) -> None:
    from simulator.scenario import to_yaml

    (tmp_path / "small.yaml").write_text(to_yaml(small(execution=MEMO)))
    first = subprocess.run(
        [sys.executable, "-c", RUN.format(arguments=["--out", "first"])],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    second = run_python(RUN.format(arguments=["--out", "second", "--set", "server.slots=4"]), tmp_path)
    assert second.returncode == 0, second.stderr
    runs = [splitft.load_run(tmp_path / name) for name in ("first", "second")]
    assert [counts(run) for run in runs] == [COMPUTED, REMEMBERED]
    assert exported(runs[0]) == exported(runs[1])
    numerics_ids = {run.records.meta["numerics"] for run in runs}
    assert len(numerics_ids) == 1  # with and without torch the machine has the same name
