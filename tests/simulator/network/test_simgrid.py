"""The clock against SimGrid, and against a brute-force simulator where SimGrid's file has no case."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.simgrid_replay import replay
from tests.simulator.brute_force import BruteForce
from tests.simulator.scenarios import KINDS, scenario

TRUTH = Path(__file__).parents[3].parent / "shared" / "truth" / "simgrid_scenarios.json"
RELATIVE = 1e-9


def _truth() -> list[Any]:
    if not TRUTH.exists():
        return [
            pytest.param(
                None, marks=pytest.mark.skip(reason="the file of SimGrid's times is not beside the repository")
            )
        ]
    scenarios = json.loads(TRUTH.read_text(encoding="utf-8"))["scenarios"]
    targets = [one for one in scenarios if "simgrid_quirk" not in one["tags"]]
    return [pytest.param(one, id=one["id"]) for one in targets]


@pytest.mark.parametrize("truth", _truth())
def test_every_operation_ends_when_simgrid_says(truth: dict[str, Any]) -> None:
    ends = replay(truth)
    expected = truth["results"]["pure"]["t_end_s"]
    assert list(ends) == list(expected)
    for actor, times in expected.items():
        assert ends[actor] == pytest.approx(times, rel=RELATIVE, abs=0), actor


@pytest.mark.parametrize(
    ("kind", "seed"), [(kind, seed) for kind in KINDS for seed in range(60 if kind == "mixed" else 12)]
)
def test_every_operation_ends_when_brute_force_says(kind: str, seed: int) -> None:
    one = scenario(kind, seed)
    ends = replay(one)
    for actor, times in BruteForce(one).ends.items():
        assert ends[actor] == pytest.approx(times, rel=RELATIVE, abs=1e-300), actor


@pytest.mark.parametrize("kind", ["star", "half-duplex", "cells", "profile", "cancel", "mixed"])
def test_hundreds_of_random_flows_end_when_brute_force_says(kind: str) -> None:
    one = scenario(kind, seed=1_000, num_clients=60 if kind == "mixed" else 90)
    assert sum(op[0] == "send" for actor in one["actors"] for op in actor["ops"]) > 200
    ends = replay(one)
    for actor, times in BruteForce(one).ends.items():
        assert ends[actor] == pytest.approx(times, rel=RELATIVE, abs=1e-300), actor


# ---- what the schema leaves to its edges


def _two_clients(
    *operations: list[list[Any]], starts_s: tuple[float, ...] = (0.0, 0.0), **parts: Any
) -> dict[str, Any]:
    """Return a scenario of two clients of 4 B/s with 1 s of latency, a server of 4 B/s and one slot."""
    return {
        "id": "edge",
        "tags": [],
        "hosts": [{"id": host, "speed_flop_s": 1.0, "cores": 1} for host in ("a", "b", "srv")],
        "links": [
            {"id": "a_up", "bandwidth_B_s": 4.0, "latency_s": 1.0},
            {"id": "b_up", "bandwidth_B_s": 4.0, "latency_s": 1.0},
            {"id": "srv_in", "bandwidth_B_s": 4.0, "latency_s": 0.0},
        ],
        "routes": [{"src": client, "dst": "srv", "links": [f"{client}_up", "srv_in"]} for client in ("a", "b")],
        "pools": [{"id": "gpu", "slots": 1, "discipline": "fifo"}],
        "barriers": [{"id": "all", "n": 2}],
        "actors": [
            {"id": name, "start_s": start_s, "ops": ops}
            for name, start_s, ops in zip("xy", starts_s, operations, strict=False)
        ],
        **parts,
    }


def test_a_message_whose_time_to_be_cancelled_is_past_ends_as_it_starts() -> None:
    one = _two_clients([["send", "a", "srv", 8, 1.0], ["sleep", 1.0]], starts_s=(3.0,))
    assert replay(one) == {"x": [3.0, 4.0]}


def test_a_message_that_arrives_before_its_time_to_be_cancelled_is_not_kept_waiting() -> None:
    assert replay(_two_clients([["send", "a", "srv", 8, 9.0]])) == {"x": [3.0]}


def test_messages_to_oneself_and_of_zero_bytes_and_work_of_zero_flops_take_no_time() -> None:
    one = _two_clients([["send", "a", "a", 8], ["send", "a", "srv", 0], ["compute", "a", 0.0], ["sleep", 0.0]])
    assert replay(one) == {"x": [0.0] * 4}


def test_actors_that_ask_for_a_slot_at_one_time_get_it_in_their_order() -> None:
    # Both arrive with 8 B at 1 + 8/2 = 5 s. x computes 2 s, then y 3 s.
    x: list[list[Any]] = [["send", "a", "srv", 8], ["acquire", "gpu"], ["compute", "srv", 2.0], ["release", "gpu"]]
    y: list[list[Any]] = [["send", "b", "srv", 8], ["acquire", "gpu"], ["compute", "srv", 3.0], ["release", "gpu"]]
    assert replay(_two_clients(x, y)) == {"x": [5.0, 5.0, 7.0, 7.0], "y": [5.0, 7.0, 10.0, 10.0]}


def test_a_slot_may_be_given_back_by_somebody_else() -> None:
    one = _two_clients([["acquire", "gpu"], ["acquire", "gpu"]], [["sleep", 2.0], ["release", "gpu"]])
    assert replay(one) == {"x": [0.0, 2.0], "y": [2.0, 2.0]}


def test_a_barrier_opens_for_all_when_the_last_has_come_and_closes_again() -> None:
    one = _two_clients(
        [["barrier", "all"]] * 2, [["sleep", 1.0], ["barrier", "all"], ["sleep", 2.0], ["barrier", "all"]]
    )
    assert replay(one) == {"x": [1.0, 3.0], "y": [1.0, 1.0, 3.0, 3.0]}


@pytest.mark.parametrize(
    ("scenario_of", "message"),
    [
        (_two_clients([["acquire", "gpu"]], [["acquire", "gpu"]]), "never ends: y wait forever"),
        (_two_clients([["barrier", "all"]]), "never ends: x wait forever"),
        (_two_clients([["release", "gpu"]]), "released more often"),
        (_two_clients([["think", "hard"]]), "unknown operation 'think'"),
        (_two_clients([["send", "a", "b", 1]]), "no route from 'a' to 'b'"),
        (_two_clients([], pools=[{"id": "gpu", "slots": 1, "discipline": "lifo"}]), "fifo only"),
    ],
)
def test_a_scenario_outside_the_schema_is_refused(scenario_of: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replay(scenario_of)
