"""What stands behind a scenario, such as a device's numbers, is not the same because the scenario is."""

from pathlib import Path

import pytest

import splitft
from analysis.comparison import compare
from simulator.records.behind import behind, changed
from simulator.setting import resolve
from splitft.api import run_setting
from splitft.replaying import replay_setting

SCENARIO = """
rounds: 1
workload: {local_steps: 1, batch_size: 2, max_length_tokens: 32, dataset: text.txt}
fleet: {clients: [{device: board, network: lan-1gbe, count: 2}, {device: rpi5-8gb, network: lan-1gbe}]}
policy: {kind: "mine.py:shallow"}
execution: {trainer: cost-only}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(SCENARIO)
    write_text("never", 60)
    write_code(1)
    write_device(2.0)
    return tmp_path


def write_text(word, count):
    Path("text.txt").write_text("\n\n".join(f"{word} number {place} is a text" for place in range(count)))


def write_code(cut):
    Path("mine.py").write_text(
        "from simulator.policies.observation import Decision\n\n\ndef shallow(observations, memory, section):\n"
        f"    return Decision(cuts={{o.client: {cut} for o in observations}}, reasons={{}}, memory=memory)\n"
    )


def write_device(tflops):
    from devices.catalogue.own_files import template

    lines = template("device", "board").splitlines()
    stated = [f"peak_fp32_tflops: {tflops}" if line.startswith("peak_fp32_tflops:") else line for line in lines]
    assert stated != lines
    Path("board.yaml").write_text("\n".join(stated))


def run(name, *overrides):
    setting = resolve(splitft.Scenario.load("mine.yaml", overrides))
    return run_setting(setting, Path(name), plots=False).records


def test_equal_runs_have_nothing_else_behind_them(folder):
    first, second = run("a"), run("b")
    assert changed(first.meta, second.meta) == {}
    assert behind(first.meta)
    with pytest.raises(ValueError, match="b and a are the same run"):
        compare([first, second])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda: write_device(4.0), "device board: peak_flops_per_s"),
        (lambda: write_code(2), "code of policy.kind"),
        (lambda: write_text("always", 60), "content of dataset"),
    ],
    ids=["device", "code", "text"],
)
def test_what_has_changed_behind_a_scenario_tells_runs_apart(folder, change, key):
    first = run("a")
    change()
    second, other = run("b"), run("c", "rounds=2")
    assert list(changed(first.meta, second.meta)) == [key]
    found = compare([first, second])
    assert list(found.differing) == [key]
    assert len(found.pairs(found.settings[1])) == 1
    by_rounds = compare([first, other], ["rounds"])  # another number of rounds, and a changed thing behind
    assert by_rounds.pairs(by_rounds.settings[1]) == []
    assert by_rounds.hindrances(by_rounds.settings[1]) == [key]


def test_what_follows_from_the_scenario_is_no_change_behind_it(folder):
    first = run("a")
    second = run("b", "server.device=nvidia-t4", "server.network=wan-dc-all", "costs.energy=assumed", "rounds=2")
    assert changed(first.meta, second.meta) == {}
    third = run("c", "fleet.clients.1.device=apple-m2-16gb")
    assert changed(first.meta, third.meta) == {}
    found = compare([first, third], ["fleet.clients.1.device"])
    assert len(found.pairs(found.settings[1])) == 1


def test_a_replay_says_which_numbers_are_others_than_the_runs(folder):
    run("a")
    assert not any("replay takes" in note for note in replay_setting(Path("a"), [])[0].notes)
    write_device(4.0)
    (note,) = (note for note in replay_setting(Path("a"), [])[0].notes if "replay takes" in note)
    assert note.startswith("device board: peak_flops_per_s was ")
    assert note.endswith(" now: the replay takes what it is now")
