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


def test_a_scenario_that_is_built_wrongly_is_told_by_key():
    with pytest.raises(splitft.InputError) as told:
        splitft.Scenario(fleet=None, rounds=0)
    assert {(problem.key, problem.value) for problem in told.value.problems} == {("fleet", None), ("rounds", 0)}
    with pytest.raises(splitft.InputError) as told:
        splitft.Scenario()
    assert [problem.key for problem in told.value.problems] == ["fleet"]
    assert splitft.Scenario(fleet=FleetSection(mixture="edge-lab", count=2)).rounds == 8
