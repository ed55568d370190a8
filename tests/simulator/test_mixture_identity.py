"""A run's fingerprint tells mixtures apart that differ in nothing but how often they draw each device or network."""

import json
from pathlib import Path

import pytest

from devices.problems import InputError
from simulator.manifest import describe
from simulator.resume import refuse_changes
from simulator.scenario import Scenario
from simulator.setting import resolve

LENGTHS = {"dataset": {"source": "lengths"}}


def head(folder: Path, *, device_weights: tuple[float, float], network_weights: tuple[float, float]) -> dict:
    """Return the head of a run over a user's mixture with these weights."""
    folder.mkdir(exist_ok=True)
    (folder / "mixed.yaml").write_text(
        "type: fleet\nid: mixed\n"
        f"devices: [{{device: rpi5-8gb, weight: {device_weights[0]}}},"
        f" {{device: rtx-3060-12gb, weight: {device_weights[1]}}}]\n"
        f"networks: [{{network: lan-1gbe, weight: {network_weights[0]}}},"
        f" {{network: lan-1gbe, via: wifi5-2x2-cap, weight: {network_weights[1]}}}]\n"
        "availability: always-on\n"
    )
    fleet = {"mixture": "mixed", "count": 20}
    scenario = {"fleet": fleet, "workload": LENGTHS, "execution": {"trainer": "cost-only"}}
    return describe(resolve(Scenario.from_mapping(scenario, folder=folder)), None)


def test_other_weights_of_a_mixture_are_another_run(tmp_path: Path) -> None:
    base = head(tmp_path, device_weights=(0.5, 0.5), network_weights=(0.5, 0.5))
    assert base == head(tmp_path, device_weights=(0.5, 0.5), network_weights=(0.5, 0.5))
    others = [
        head(tmp_path, device_weights=(0.9, 0.1), network_weights=(0.5, 0.5)),
        head(tmp_path, device_weights=(0.5, 0.5), network_weights=(0.9, 0.1)),
    ]
    assert len({run["fingerprint"] for run in (base, *others)}) == 3
    assert base["hardware"]["mixture"] == {
        "devices": [{"id": "rpi5-8gb", "weight": 0.5}, {"id": "rtx-3060-12gb", "weight": 0.5}],
        "networks": [{"id": "lan-1gbe", "weight": 0.5}, {"id": "lan-1gbe+wifi5-2x2-cap", "weight": 0.5}],
    }


def test_a_resume_with_other_weights_is_refused_and_told_which(tmp_path: Path) -> None:
    head_before = head(tmp_path / "user", device_weights=(0.5, 0.5), network_weights=(0.5, 0.5))
    before = json.loads(json.dumps(head_before))  # as it is read from run.json
    now = head(tmp_path / "user", device_weights=(0.75, 0.25), network_weights=(0.5, 0.5))
    with pytest.raises(InputError) as refused:
        refuse_changes(tmp_path / "run", before, now)
    (problem,) = refused.value.problems
    assert (problem.key, problem.value) == ("hardware.mixture.devices.rpi5-8gb.weight", 0.75)
    assert "was 0.5" in problem.message


def test_listed_clients_have_no_mixture(tmp_path: Path) -> None:
    fleet = {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe"}]}
    scenario = {"fleet": fleet, "workload": LENGTHS, "execution": {"trainer": "cost-only"}}
    assert "mixture" not in describe(resolve(Scenario.from_mapping(scenario, folder=tmp_path)), None)["hardware"]
