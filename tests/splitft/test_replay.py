"""A replay is a fresh run to the byte, or is refused with the reason; it never learns anything."""

import subprocess
import sys
from pathlib import Path

import pytest

import splitft
from devices.problems import InputError
from splitft import cli, commands
from tests.small_run import SMALL, small
from tests.splitft.faked import contents, fake

ADAPTIVE = {"kind": "splitft", "initial_cut": 2}
OTHER_MACHINES = [
    ["server.device=nvidia-t4", "server.network=wan-dc-all"],
    ["fleet.clients.0.network=geo-satellite", "fleet.clients.2.device=nvidia-a10"],
    ["server.slots=4", "server.outages=[{start_s: 1, end_s: 5}]"],
]


@pytest.fixture
def faked(monkeypatch):
    faked = fake(monkeypatch)
    monkeypatch.setattr("splitft.replaying.resolve", sys.modules["splitft.api"].resolve)
    return faked


@pytest.mark.parametrize("overrides", OTHER_MACHINES, ids=" ".join)
def test_a_replay_is_a_fresh_run_to_the_byte(faked, tmp_path, overrides):
    base = splitft.run(small(rounds=3), tmp_path / "base")
    num_done = faked.num_done
    replayed = splitft.replay(base.folder, overrides, tmp_path / "replayed")
    assert faked.num_done == num_done  # nothing was computed
    fresh_scenario = splitft.Scenario.of(_document(), overrides, folder=None)
    fresh = splitft.run(fresh_scenario, tmp_path / "fresh")
    assert contents(replayed.folder) == contents(fresh.folder)
    now, then = replayed.records.meta, fresh.records.meta
    assert {key: now[key] for key in now if key != "host"} == {key: then[key] for key in then if key != "host"}
    assert now["host"]["num_steps_computed"] == 0
    assert now["host"]["num_steps_remembered"] == 3 * 3 * 2  # rounds, clients, steps


def _document():
    from devices.strict_yaml import Document

    return Document({**SMALL, "rounds": 3}, "small", {})


def test_a_replay_of_a_replay_is_a_replay(faked, tmp_path):
    base = splitft.run(small(), tmp_path / "base")
    once = splitft.replay(base.folder, OTHER_MACHINES[0], tmp_path / "once")
    back = splitft.replay(
        once.folder, ["server.device=nvidia-a100-80gb-sxm", "server.network=lan-10gbe"], tmp_path / "b"
    )
    assert contents(back.folder) == contents(base.folder)


def test_a_clock_without_learning_is_replayed_too(tmp_path):
    base = splitft.run(small(execution={"trainer": "cost-only"}), tmp_path / "base")
    replayed = splitft.replay(base.folder, ["server.device=nvidia-t4"], tmp_path / "r", plots=False)
    assert replayed.summary.simulated_s > base.summary.simulated_s


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["policy.cut=3"], "in round 1 client 0 has cut 3, and had 2"),
        (["selection.kind=deadline", "selection.deadline_s=1e-9"], "in round 1 client 0 does not finish, and did"),
        (["fleet.clients.0.count=2"], "client 3 finishes, and did not"),
        (["workload.local_steps=1"], "in round 1 client 0 takes 1 steps, and took 2"),
        (["workload.optimizer.learning_rate=0.5"], "workload.optimizer.learning_rate was 0.002 and is 0.5"),
        (["seed.training=3"], "seed.training was 0 and is 3"),
        (["evaluation.max_samples=4"], "evaluation.max_samples was 16 and is 4"),
        (["execution.trainer=cost-only"], "the run was torch and stays so"),
        (["server.devise=x"], "did you mean 'device'"),
        (["rounds=4"], "in round 4 client 0 finishes, and did not"),
        (["rounds=2"], "rounds was 3 and is 2"),  # the adapter after round 2 is not kept
    ],
)
def test_what_would_change_the_plans_or_the_learning_is_refused_with_the_first_difference(
    faked, tmp_path, overrides, said
):
    base = splitft.run(small(rounds=3), tmp_path / "base")
    before, num_done = contents(base.folder), faked.num_done
    with pytest.raises(InputError) as error:
        splitft.replay(base.folder, overrides, tmp_path / "r")
    assert said in str(error.value)
    assert not (tmp_path / "r").exists()
    assert contents(base.folder) == before
    assert faked.num_done == num_done


def test_cuts_that_adapt_to_another_fleet_are_refused(faked, tmp_path):
    base = splitft.run(small(rounds=3, policy=ADAPTIVE), tmp_path / "base")
    slow = ["fleet.clients.0.device=rtx-4090", "fleet.clients.2.device=rpi4-8gb"]
    with pytest.raises(InputError, match=r"in round \d client \d has cut \d, and had \d"):
        splitft.replay(base.folder, slow, tmp_path / "r")


def test_another_order_at_the_server_is_refused_as_such_where_it_is_learned_in(faked, tmp_path):
    base = splitft.run(small(protocol={"kind": "sfl-v2"}), tmp_path / "base")
    slow = ["fleet.clients.1.network=geo-satellite"]  # of the client that came first
    with pytest.raises(InputError, match="sfl-v2 learns in the order in which clients meet the server"):
        splitft.replay(base.folder, slow, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_client_that_finishes_oftener_in_a_round_is_another_plan_also_where_nothing_is_learned(tmp_path):
    base = splitft.run(small(protocol={"kind": "fedbuff"}, execution={"trainer": "cost-only"}), tmp_path / "base")
    with pytest.raises(InputError, match=r"in round 1 client \d finishes \d times, and did \d times"):
        splitft.replay(base.folder, ["fleet.clients.0.network=lan-1gbe"], tmp_path / "r")


def test_a_replay_that_loses_the_race_for_a_number_takes_the_next_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splitft.run(small(execution={"trainer": "cost-only"}), Path("runs/small-001"))
    writer, others = splitft.api.RunWriter, iter([Path("runs/small-002")])

    def late(folder, *arguments, **options):
        if (other := next(others, None)) is not None:
            other.mkdir()
        return writer(folder, *arguments, **options)

    monkeypatch.setattr("splitft.api.RunWriter", late)
    commands.replay_run("small-001", [], out=None, as_json=False, quiet=True)
    assert splitft.load_run("runs/small-003").summary.num_rounds == 2
    assert not any(Path("runs/small-002").iterdir())


def test_an_unfinished_run_is_not_replayed(tmp_path):
    with pytest.raises(InputError, match="no such run folder"):
        splitft.replay(tmp_path / "none", [], tmp_path / "r")


def test_a_damaged_run_is_told_and_leaves_no_folder(faked, tmp_path):
    base = splitft.run(small(), tmp_path / "base")
    (base.folder / "clients.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match="damaged run folder"):
        splitft.replay(base.folder, OTHER_MACHINES[0], tmp_path / "replayed")
    assert not (tmp_path / "replayed").exists()


def test_the_command_replays_the_last_run(faked, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    splitft.run(small(), Path("runs/small-001"))
    monkeypatch.setattr(sys, "argv", ["splitft", "replay", "last", "--set", "server.device=nvidia-t4"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert "0 computed, 12 remembered" in capsys.readouterr().out
    assert splitft.load_run("runs/small-002").records.meta["scenario"]["server"]["device"] == "nvidia-t4"


@pytest.mark.torch
def test_a_replay_of_real_training_loads_no_torch_and_has_the_same_adapter(tmp_path):
    base = splitft.run(small(rounds=1, execution={}), tmp_path / "base")
    code = (
        "import sys, splitft\n"
        "splitft.replay('base', ['server.device=nvidia-t4'], 'replayed', plots=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    replayed = splitft.load_run(tmp_path / "replayed")
    assert replayed.evals["loss"].tolist() == base.evals["loss"].tolist()
    weights = "adapter/adapter_model.safetensors"
    assert (replayed.folder / weights).read_bytes() == (base.folder / weights).read_bytes()
