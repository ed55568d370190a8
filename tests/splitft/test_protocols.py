"""Every protocol as a whole: trained for real on the bundled model, timed without it, interrupted and gone on with."""

from pathlib import Path

import pytest

import splitft
from simulator.costs.prediction import predict
from simulator.scenario import Scenario
from simulator.sections.protocol import LABELS_STAY
from simulator.setting import resolve
from splitft.checking import check_json, check_tables
from tests.small_run import SMALL, small
from tests.splitft.faked import fake
from tests.splitft.test_resume import contents, go_on, stop_after

KINDS = ("sl", "sfl-v1", "sfl-v2", "sfl-pipelined", "local-loss", "u-shape", "fed-lora", "fedbuff")
POLICIES = (
    {"kind": "fixed", "cut": 2},
    {"kind": "per-device", "default": 2, "cuts": {"rpi5-8gb": 1}},
    {"kind": "splitft"},
)
LENGTHS = {"source": "lengths", "distribution": "lognormal", "median_tokens": 24, "sigma": 0.5}
SELECTIONS = (
    {"kind": "all"},
    {"kind": "random", "fraction": 0.5},
    {"kind": "over-commit", "count": 2, "factor": 1.3},
    {"kind": "deadline", "deadline_s": 0.3},
)


def scenario(kind: str, **changes: object) -> Scenario:
    return small(**{"protocol": {"kind": kind, **({"buffer_size": 3} if kind == "fedbuff" else {})}, **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_every_protocol_trains_the_bundled_model_and_takes_the_time_that_it_takes_without(kind: str) -> None:
    workload = {**SMALL["workload"], "local_steps": 1}
    trained = splitft.run(scenario(kind, rounds=1, workload=workload))
    timed = splitft.run(scenario(kind, rounds=1, workload=workload, execution={"trainer": "cost-only"}))
    assert trained.records.meta["spans_sha256"] == timed.records.meta["spans_sha256"]
    finished = trained.clients[trained.clients.status == "finished"]
    assert len(finished) == 3
    assert finished.train_loss.between(4, 7).all()
    before, after = trained.evals.loss
    assert after < before  # one step of each client from a fresh adapter
    assert timed.clients.train_loss.isna().all()


def test_with_one_client_the_u_shape_learns_what_sl_learns_to_the_bit() -> None:
    alone = {"clients": SMALL["fleet"]["clients"][:1]}
    lora = {"rank": 8, "cut_rank": 4}
    changes = {"fleet": alone, "workload": {**SMALL["workload"], "lora": lora}, "rounds": 3}
    runs = [splitft.run(scenario(kind, **changes)) for kind in ("sl", "u-shape")]
    assert runs[0].evals.loss.tolist() == runs[1].evals.loss.tolist()
    assert runs[0].clients.train_loss.tolist() == runs[1].clients.train_loss.tolist()
    assert runs[1].evals.loss.iloc[-1] < runs[1].evals.loss.iloc[0]


@pytest.mark.parametrize("kind", ["sl", "sfl-v2", "fedbuff"])
def test_a_run_goes_on_to_the_same_end_wherever_it_was_interrupted(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adaptive = scenario(kind, rounds=3, policy={"kind": "splitft"})
    faked = fake(monkeypatch)
    expected = contents(splitft.run(adaptive, tmp_path / "whole").folder)
    num_tasks = faked.num_done
    for num_done in (3, num_tasks // 2, num_tasks - 1):
        folder = tmp_path / str(num_done)
        faked.workers.clear()
        stop_after(faked, num_done)
        with pytest.raises(KeyboardInterrupt):
            splitft.run(adaptive, folder)
        go_on(faked)
        splitft.resume(folder)
        assert contents(folder) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_every_protocol_runs_with_every_policy_and_every_selection(kind: str) -> None:
    combinations = [(policy, SELECTIONS[0]) for policy in POLICIES]
    combinations += [(POLICIES[-1], selection) for selection in SELECTIONS[1:]]
    for policy, selection in combinations:
        run = splitft.run(
            scenario(
                kind,
                workload={**SMALL["workload"], "dataset": LENGTHS},
                policy=policy,
                selection=selection,
                availability={"kind": "always-on", "failure_frac": 0.2},
                execution={"trainer": "cost-only"},
            )
        )
        assert len(run.rounds) == 2
        on_spans = run.spans.groupby("actor", observed=True).num_bytes.sum()
        assert (run.rounds.up_bytes.sum(), run.rounds.down_bytes.sum()) == (on_spans.uplink, on_spans.downlink)
        if kind == "fed-lora":
            assert set(run.clients.cut) == {8}
            assert set(run.clients.cut_reason) == {"not cut"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_prices_every_protocol_and_says_whether_labels_leave(kind: str) -> None:
    setting = resolve(scenario(kind))
    found = predict(setting)
    assert [row.cut for row in found.cuts] == ([8] if kind == "fed-lora" else [*range(1, 8)])
    seconds = [s for device in found.devices for s in device.step_s if s is not None]
    assert len(seconds) == len(found.cuts) * 3
    assert min(seconds) > 0
    sends = {(row.up_bytes > 0, row.down_bytes > 0) for row in found.cuts}
    assert sends == {(kind != "fed-lora", kind not in ("fed-lora", "local-loss"))}
    assert check_json(setting)["labels_leave"] == (kind not in LABELS_STAY)
    check_tables(setting)
