"""Who gets which run folder, also where several processes begin at the same moment."""

import subprocess
import sys
from pathlib import Path

import pytest

import splitft
from simulator.records.recorder import RunWriter
from simulator.scenario import Scenario
from simulator.setting import resolve
from splitft import commands
from splitft.api import FolderExistsError, run_setting

QUICK = ["rounds=1", "execution.trainer=cost-only", "workload.dataset=lengths"]


def setting():
    return resolve(Scenario.load("quickstart", QUICK))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_who_loses_the_race_for_a_number_takes_the_next_one(monkeypatch, capsys):
    others = iter([Path("runs/quickstart-001"), Path("runs/quickstart-002")])

    class Late(RunWriter):
        def __init__(self, folder, *arguments, **options):
            if (other := next(others, None)) is not None:
                other.mkdir(parents=True)  # somebody else's, made after this run had seen that the number was free
            super().__init__(folder, *arguments, **options)

    monkeypatch.setattr("splitft.api.RunWriter", Late)
    commands.run_scenario("quickstart", QUICK, out=None, catalogue=[], as_json=False, quiet=True)
    assert [path.name for path in sorted(Path("runs").iterdir())] == [f"quickstart-00{n}" for n in (1, 2, 3)]
    assert splitft.load_run("runs/quickstart-003").summary.num_rounds == 1
    assert not list(Path("runs/quickstart-001").iterdir())


def test_a_folder_that_a_user_named_is_refused_where_somebody_has_just_made_it():
    Path("mine").mkdir()
    with pytest.raises(FolderExistsError, match=r"^out: mine exists; a run never writes into a folder that is there$"):
        run_setting(setting(), Path("mine"))
    assert not list(Path("mine").iterdir())


def test_processes_that_begin_together_each_get_a_folder():
    command = [sys.executable, "-m", "splitft", "run", "quickstart", "--quiet"]
    command += [part for override in QUICK for part in ("--set", override)]
    together = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in together] == [("", 0)] * 2
    assert [path.name for path in sorted(Path("runs").glob("*/run.json"), key=str)] == ["run.json"] * 2
    assert sorted(path.name for path in Path("runs").iterdir()) == ["quickstart-001", "quickstart-002"]


def test_a_run_that_fails_before_its_first_round_leaves_no_folder_around_it_either():
    with pytest.raises(RuntimeError, match="at once"), RunWriter(Path("a/b/c"), {}):
        raise RuntimeError("at once")
    assert not Path("a").exists()


def test_a_run_that_fails_leaves_a_folder_that_was_there_or_that_another_run_is_in():
    Path("a").mkdir()
    writer = RunWriter(Path("a/b/c"), {})
    Path("a/b/other").mkdir()
    with pytest.raises(RuntimeError, match="at once"), writer:
        raise RuntimeError("at once")
    assert [path.name for path in Path("a/b").iterdir()] == ["other"]
