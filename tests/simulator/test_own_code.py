"""The user's own policies and selections: found, told about, made part of the run's identity, and held to account."""

import hashlib
import importlib
import json
import re
import sys
from pathlib import Path

import pytest

import splitft
from devices.problems import InputError
from simulator.manifest import describe
from simulator.resume import refuse_changes
from simulator.scenario import Scenario, to_mapping
from simulator.setting import resolve
from splitft.checking import check_json
from tests.small_run import small

MINE = """
from simulator.policies.observation import Decision
from simulator.protocols.rounds import FOR_EVERYBODY
from simulator.participation.selection import Cohort

print("executed")


def half(observations, memory, section):
    cuts = {o.client: max(o.min_cut, int(o.max_cut * section.settings.get("part", 0.5))) for o in observations}
    return Decision(cuts=cuts, reasons={}, memory={"calls": memory.get("calls", 0) + 1})


def counting(observations, memory, section):
    calls = memory.get("calls", 0) + 1
    return Decision(cuts={o.client: calls for o in observations}, reasons={}, memory={"calls": calls})


def first_two(reachable, rng, section, history):
    return Cohort(clients=reachable[:2], terms=FOR_EVERYBODY)


def least_seen(reachable, rng, section, history):
    return Cohort(clients=sorted(reachable, key=lambda k: history.last_round[k])[:1], terms=FOR_EVERYBODY)


def too_deep(observations, memory, section):
    return Decision(cuts={o.client: 99 for o in observations}, reasons={}, memory=memory)


def failing(observations, memory, section):
    return 1 / 0


def strangers(reachable, rng, section, history):
    return Cohort(clients=[77], terms=FOR_EVERYBODY)


a_number = 3
"""
DEEPEST = """
from simulator.policies.observation import Decision


def deepest(observations, memory, section):
    return Decision(cuts={o.client: o.max_cut for o in observations}, reasons={}, memory=memory)
"""
LENGTHS = {"source": "lengths", "distribution": "fixed", "tokens": 16}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").write_text(MINE)
    return tmp_path


def documented_scenario(folder, **changes):
    (folder / "shown.py").write_text(documented())
    devices = ("rpi5-8gb", "rpi4-8gb", "rtx-3060-12gb")
    fleet = {"clients": [{"device": device, "network": "lan-1gbe"} for device in devices]}
    return scenario(folder, {"kind": "shown.py:by_speed", "settings": {"tolerance": 1.0}}, fleet=fleet, **changes)


def scenario(folder, policy=None, selection=None, **changes):
    sections = {
        "rounds": 3,
        "workload": {"dataset": LENGTHS, "local_steps": 1},
        "fleet": {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe", "count": 3}]},
        "execution": {"trainer": "cost-only"},
    }
    sections |= {"policy": {"kind": f"code/mine.py:{policy}"}} if isinstance(policy, str) else {"policy": policy or {}}
    sections |= {"selection": {"kind": f"code/mine.py:{selection}"} if isinstance(selection, str) else selection or {}}
    return Scenario.from_mapping({**sections, **changes}, folder=folder)


def test_an_own_policy_decides_with_its_settings(folder):
    run = splitft.run(scenario(folder, {"kind": "code/mine.py:half", "settings": {"part": 0.8}}))
    assert set(run.clients.cut) == {5}  # of 7
    assert set(run.clients.cut_reason) == {"half"}  # where it gives none, its name


def test_an_own_policy_is_asked_before_every_round_and_given_what_it_returned(folder):
    run = splitft.run(scenario(folder, "counting"))
    assert run.clients.groupby("round").cut.first().tolist() == [1, 2, 3]
    every_other = splitft.run(scenario(folder, {"kind": "code/mine.py:counting", "every": 2}))
    assert every_other.clients.groupby("round").cut.first().tolist() == [1, 1, 2]


def test_an_own_selection_chooses(folder):
    assert set(splitft.run(scenario(folder, selection="first_two")).clients.client) == {0, 1}
    # whoever took part longest ago: each in turn
    assert splitft.run(scenario(folder, selection="least_seen")).clients.client.tolist() == [0, 1, 2]


def test_a_module_will_do_as_well_as_a_file(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder / "code")
    run = splitft.run(scenario(folder, {"kind": "mine:half"}))
    assert set(run.clients.cut) == {3}
    with pytest.raises(InputError, match=r"policy\.kind: there is no module 'nothing_like_it' with a Python file"):
        resolve(scenario(folder, {"kind": "nothing_like_it:half"}))


def write_package(folder, name):
    """Write a package that says when it is executed, and in it a folder without `__init__.py` with a module."""
    (folder / name / "inner").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("print('executed')\nfrom .helper import deepest\n")
    (folder / name / "helper.py").write_text(DEEPEST)
    (folder / name / "inner" / "deciding.py").write_text("from ..helper import deepest\n")


@pytest.mark.parametrize("module", ["the_package", "the_package.helper", "the_package.inner.deciding"])
def test_a_module_is_found_without_executing_its_packages_which_a_run_imports_where_it_needs_them(
    folder, monkeypatch, capsys, module
):
    write_package(folder, "the_package")
    monkeypatch.syspath_prepend(folder)
    setting = resolve(scenario(folder, {"kind": f"{module}:deepest"}))
    assert check_json(setting)["notes"]
    assert "executed" not in capsys.readouterr().out
    assert "the_package" not in sys.modules
    try:
        assert set(splitft.run(setting.scenario).clients.cut) == {7}
    finally:
        for name in [name for name in sys.modules if name.startswith("the_package")]:
            del sys.modules[name]
    assert ("executed" in capsys.readouterr().out) == (module != "the_package.helper")  # which needs nothing of it


@pytest.mark.parametrize("module", ["the_package.none", "the_package.helper.none", "the_package..helper"])
def test_a_module_that_is_not_there_is_named(folder, monkeypatch, module):
    write_package(folder, "the_package")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(InputError, match=rf"policy\.kind: there is no module '{module}' with a Python file"):
        resolve(scenario(folder, {"kind": f"{module}:deepest"}))


def test_what_is_executed_is_what_was_digested_whatever_has_been_imported_before(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    (folder / "changing.py").write_text("deepest = None\n")
    monkeypatch.delitem(sys.modules, "changing", raising=False)
    imported = importlib.import_module("changing")
    (folder / "changing.py").write_text(DEEPEST)
    setting = resolve(scenario(folder, {"kind": "changing:deepest"}))
    assert describe(setting, None)["content"]["own_code"] == {
        "policy.kind": hashlib.sha256(DEEPEST.encode()).hexdigest()
    }
    assert set(splitft.run(setting.scenario).clients.cut) == {7}
    assert sys.modules["changing"] is imported


def test_run_json_has_the_digest_and_a_check_tells_without_executing(folder, capsys):
    setting = resolve(scenario(folder, "half", "first_two"))
    digest = hashlib.sha256(MINE.encode()).hexdigest()
    assert describe(setting, None)["content"]["own_code"] == {"policy.kind": digest, "selection.kind": digest}
    notes = check_json(setting)["notes"]
    assert f"this scenario runs code: policy.kind is 'half' of {folder}/code/mine.py (sha256 {digest[:12]})" in notes
    assert "executed" not in capsys.readouterr().out
    splitft.run(scenario(folder, "half"))
    assert "executed" in capsys.readouterr().out


def test_other_code_is_another_run_and_no_resume(folder):
    before = describe(resolve(scenario(folder, "half")), None)
    (folder / "code" / "mine.py").write_text(MINE + "\n")
    now = describe(resolve(scenario(folder, "half")), None)
    assert before["fingerprint"] != now["fingerprint"]
    with pytest.raises(InputError, match=r"content\.own_code\.policy\.kind"):
        refuse_changes(folder, json.loads(json.dumps(before)), now)
    assert "own_code" not in describe(resolve(scenario(folder)), None)["content"]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("hlf", r"policy\.kind: has no 'hlf'; it has Decision, .*; did you mean 'half'\?"),
        ("a_number", r"policy\.kind: 'a_number' is no function"),
        ("too_deep", r"policy\.kind: 'too_deep' returned what cannot be used: client 0 has the cut 99; .* from 1 to 7"),
        ("failing", r"policy\.kind: 'failing' failed: ZeroDivisionError: division by zero, line \d+ \(.*mine\.py\)"),
    ],
)
def test_what_is_wrong_with_an_own_policy_is_named(folder, policy, message):
    with pytest.raises(InputError, match=message):
        splitft.run(scenario(folder, policy))


def test_what_is_wrong_with_an_own_selection_is_named(folder):
    with pytest.raises(
        InputError, match=r"selection\.kind: 'strangers' returned what cannot be used: client 77 is none"
    ):
        splitft.run(scenario(folder, selection="strangers"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("code/none.py:half", r"policy\.kind: code/none\.py: No such file or directory"),
        ("code/broken.py:half", r"policy\.kind: .*broken\.py is not valid Python"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder, kind, message):
    (folder / "code" / "broken.py").write_text("def half(:")
    with pytest.raises(InputError, match=message):
        resolve(scenario(folder, {"kind": kind}))


def documented():
    """Return the functions that the documentation shows, as one file."""
    page = Path(__file__).parents[2] / "docs" / "own-code.md"
    return "\n\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE))


def test_the_documented_policy_works(folder):
    run = splitft.run(documented_scenario(folder))
    third = run.clients[run.clients["round"] == 3].set_index("client")
    # the GPU is faster than the mean, a Raspberry Pi 4 slower: half of seven blocks, and two
    assert third.cut[[1, 2]].tolist() == [2, 3]
    assert third.cut_reason[[1, 2]].tolist() == ["not fast", "fast"]


def test_the_documented_selection_works(folder):
    selection = {"kind": "shown.py:longest_away", "count": 2}
    run = splitft.run(documented_scenario(folder, rounds=4, selection=selection))
    # after rounds 1, 2, 3 last seen in (1, 1, never), (2, 1, 2), (3, 3, 2); of equal ones the lowest number
    assert run.clients.groupby("round").client.apply(list).tolist() == [[0, 1], [0, 2], [0, 1], [0, 2]]


MEASURING = """
from simulator.policies.observation import Decision


def measured(observations, memory, section):
    cuts = {o.client: 1 if o.performance is None else 2 + (o.performance > 0) for o in observations}
    return Decision(cuts=cuts, reasons={}, memory=memory)
"""


@pytest.mark.torch
@pytest.mark.parametrize("reads", [True, False])
def test_an_own_policy_sees_accuracy_only_where_it_asks_for_it_and_that_is_charged(tmp_path, reads):
    (tmp_path / "mine.py").write_text(MEASURING)
    policy = {"kind": "mine.py:measured", "reads_performance": reads}
    run = splitft.run(Scenario.from_mapping({**to_mapping(small()), "policy": policy}, folder=tmp_path))
    assert set(run.clients.cut[run.clients["round"] == 1]) == {1}
    assert (run.clients.cut[run.clients["round"] == 2].min() >= 2) == reads
    assert ("upload_validation" in set(run.spans.kind)) == reads


@pytest.mark.torch
def test_the_documented_rule_of_aggregation_works(tmp_path):
    (tmp_path / "shown.py").write_text(documented())
    sections = {**to_mapping(small()), "rounds": 1, "protocol": {"aggregator": "shown.py:plain_mean"}}
    run = splitft.run(Scenario.from_mapping(sections, folder=tmp_path))
    assert run.evals.loss.iloc[-1] < run.evals.loss.iloc[0]


RULE = """
def first(base, updates):
    return dict(updates[0].adapter)

def in_place(base, updates):
    for key, values in base.items():
        values.copy_(updates[0].adapter[key])
        updates[0].adapter[key].zero_()
    return base

def half_of_it(base, updates):
    return {key: updates[0].adapter[key] for key in list(base)[:1]}
"""


@pytest.mark.torch
def test_an_own_rule_of_aggregation_makes_the_global_adapter(tmp_path):
    (tmp_path / "rules.py").write_text(RULE)
    lone = {"fleet": {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe"}]}, "rounds": 1}
    sections = {**to_mapping(small()), **lone}

    def run(rule):
        return splitft.run(Scenario.from_mapping({**sections, "protocol": {"aggregator": rule}}, folder=tmp_path))

    # The average over the one who trained a row is what that client has trained.
    assert run("rules.py:first").evals.loss.tolist() == run("segment").evals.loss.tolist()
    with pytest.raises(InputError, match=r"protocol\.aggregator: 'half_of_it' returned what cannot be used"):
        run("rules.py:half_of_it")


@pytest.mark.torch
def test_an_own_rule_may_change_what_it_is_given(tmp_path):
    import torch

    from splitft.work import own_rule
    from workloads.aggregate import Update

    (tmp_path / "rules.py").write_text(RULE)
    sections = {**to_mapping(small()), "protocol": {"aggregator": "rules.py:in_place"}}
    rule = own_rule(resolve(Scenario.from_mapping(sections, folder=tmp_path)).own_code["protocol.aggregator"])
    base, trained = {"a": torch.zeros(2)}, {"a": torch.ones(2)}
    merged = rule(base, [Update(adapter=trained, ranks=(1,), weight=1.0)])
    assert merged["a"].tolist() == [1, 1]
    assert (base["a"].tolist(), trained["a"].tolist()) == ([0, 0], [1, 1])
