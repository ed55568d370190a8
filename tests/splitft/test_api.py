"""The Python interface: what it takes, and what it says where it is used in another way."""

import pytest

import splitft
from simulator.sections.machines import FleetSection

FILE = """
rounds: 1
workload: {max_length_tokens: 32, batch_size: 2, local_steps: 1}
fleet: {clients: [{device: rpi5-8gb, network: lan-1gbe}]}
policy: {kind: fixed}
execution: {trainer: cost-only}
"""


def test_a_scenario_may_be_named_or_be_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(FILE)
    of_path, of_text, loaded = (splitft.run(source) for source in (path, str(path), splitft.Scenario.load(path)))
    assert of_path.spans.equals(loaded.spans)
    assert of_text.spans.equals(loaded.spans)


def test_a_name_that_is_none_is_told_as_on_the_command_line():
    with pytest.raises(splitft.InputError, match="did you mean 'quickstart'"):
        splitft.run("quickstar")


def test_anything_else_is_no_scenario():
    with pytest.raises(TypeError, match="expected a Scenario, a name or a path, got dict"):
        splitft.run({"rounds": 1})


def test_one_text_is_no_list_of_overrides():
    with pytest.raises(TypeError, match=r"expected a list of KEY=VALUE texts, such as \['rounds=3'\]"):
        splitft.Scenario.load("quickstart", "rounds=3")


def test_a_folder_that_exists_is_told_in_the_words_of_python_and_of_what_was_to_be_made(tmp_path):
    scenario = splitft.Scenario.load("quickstart", ["execution.trainer=cost-only", "rounds=1"])
    with pytest.raises(splitft.InputError) as told:
        splitft.run(scenario, tmp_path)
    assert str(told.value) == f"out: {tmp_path} exists; a run never writes into a folder that is there"
    study = splitft.quick_study("quickstart", {"rounds": [1, 2]}, set={"execution.trainer": "cost-only"})
    with pytest.raises(splitft.InputError) as told:
        splitft.sweep(study, tmp_path)
    assert str(told.value) == f"out: {tmp_path} exists; a study never writes into a folder that is there"


def test_one_folder_of_profiles_may_be_named_alone(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text(
        "type: device\ntier: sbc\naccelerator: cpu\npeak_fp32_tflops: 0.1\nmemory_gib: 8\n"
        "memory_bandwidth_gbyte_per_s: 17\n"
    )
    (tmp_path / "mine.yaml").write_text(FILE.replace("rpi5-8gb", "mine"))
    source, own = tmp_path / "mine.yaml", tmp_path / "own"
    (tmp_path / "elsewhere").mkdir()
    source = source.rename(tmp_path / "elsewhere" / "mine.yaml")
    runs = [splitft.run(source, catalogue=catalogue) for catalogue in (own, str(own), [own])]
    assert [run.clients.device.tolist() for run in runs] == [["mine"]] * 3


def test_a_run_in_memory_has_its_notes_too(tmp_path):
    (tmp_path / "mine.yaml").write_text(FILE.replace("{kind: fixed}", "{kind: splitft, initial_cut: 3}"))
    run = splitft.run(splitft.Scenario.load(tmp_path / "mine.yaml", ["policy.kind=fixed"]))
    assert run.notes == ("policy: starts afresh with kind 'fixed'; dropped initial_cut",)


def test_a_scenario_that_is_built_wrongly_is_told_by_key():
    with pytest.raises(splitft.InputError) as told:
        splitft.Scenario(fleet=None, rounds=0)
    assert {(problem.key, problem.value) for problem in told.value.problems} == {("fleet", None), ("rounds", 0)}
    with pytest.raises(splitft.InputError) as told:
        splitft.Scenario()
    assert [problem.key for problem in told.value.problems] == ["fleet"]
    assert splitft.Scenario(fleet=FleetSection(mixture="edge-lab", count=2)).rounds == 8
