from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.problems import InputError
from devices.strict_yaml import parse_document
from simulator.overrides import apply_overrides, parse_overrides
from simulator.scenario import Scenario, to_mapping
from simulator.sections.policy import FixedPolicy, PerDevicePolicy, SplitFTPolicy
from simulator.sections.workload import IidPartition, OptimizerSection, QuantitySkewPartition

BASE = """\
name: base
seed: 5
rounds: 8
workload:
  dataset: pydocs
  partition: {kind: quantity-skew, alpha: 0.1}
fleet:
  clients:
    - {device: rpi5-8gb, network: lan-1gbe}
    - {device: rpi4-8gb, network: lan-1gbe, count: 4}
policy:
  initial_cut: 3
  gamma_perf: 0.9
"""
MIXTURE = "fleet: {mixture: edge-lab, count: 30}\n"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE, encoding="utf-8")
    return path


def changed(path: Path, *overrides: str) -> Scenario:
    return Scenario.load(path, overrides)


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as raised:
        Scenario.load(path, overrides)
    return [str(problem).removeprefix(f"{path.parent}/") for problem in raised.value.problems]


# --- single keys


def test_no_override_changes_nothing_and_says_nothing(base: Path) -> None:
    assert changed(base) == Scenario.load(base)
    assert changed(base).notes == ()


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("rounds=3", ("rounds",), 3),
        ("stop_at_s=2e3", ("stop_at_s",), 2000.0),
        ("workload.optimizer.learning_rate=5e-5", ("workload", "optimizer", "learning_rate"), 0.00005),
        ("workload.lora.targets=[q_proj, v_proj]", ("workload", "lora", "targets"), ["q_proj", "v_proj"]),
        ("label=a=b", ("label",), "a=b"),
        ("label=", None, None),
        (" name = other", ("name",), "other"),
        ("fleet.clients.1.count=2", ("fleet", "clients", 1, "count"), 2),
        ("policy.gamma_perf=0", ("policy", "gamma_perf"), 0.0),
        ("evaluation.targets.perplexity=[30]", ("evaluation", "targets", "perplexity"), [30.0]),
        ("seed.training=9", ("seed",), {"fleet": 5, "data": 5, "training": 9}),
        ("workload.dataset.unit=line", ("workload", "dataset", "unit"), "line"),
    ],
)
def test_an_override_changes_its_key_and_no_other(
    base: Path, override: str, path: tuple[str | int, ...] | None, value: object
) -> None:
    if path is None:  # nothing after the sign is null, which is no text
        assert problems(base, override) == ["--set: label: expected text, got null"]
        return
    expected = to_mapping(Scenario.load(base))
    place: Any = expected
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert to_mapping(changed(base, override)) == expected


def test_a_whole_section_is_replaced_by_a_mapping(base: Path) -> None:
    assert changed(base, "policy={kind: fixed, cut: 4}").policy == FixedPolicy(cut=4)
    assert changed(base, "policy.cut=5", "policy={kind: fixed, cut: 4}").policy == FixedPolicy(cut=5)


def test_the_last_of_two_overrides_of_one_key_wins(base: Path) -> None:
    assert changed(base, "rounds=3", "seed=1", "rounds=4").rounds == 4
    assert changed(base, "policy.kind=fixed", "policy.kind=per-device").policy == PerDevicePolicy()


def test_the_document_itself_is_left_as_it_is() -> None:
    document = parse_document(BASE, "base.yaml")
    overrides = parse_overrides(["fleet.mixture=edge-lab", "policy.every=2", "seed.data=1"])
    apply_overrides(document, overrides)
    assert document == parse_document(BASE, "base.yaml")


# --- starting a section afresh


def test_naming_a_kind_drops_the_keys_of_the_old_kind_and_says_so_in_one_line(base: Path) -> None:
    scenario = changed(base, "policy.kind=fixed")
    assert scenario.policy == FixedPolicy(cut=2)  # complete defaults
    assert scenario.notes == ("policy: starts afresh with kind 'fixed'; dropped initial_cut, gamma_perf",)


def test_naming_the_same_kind_starts_afresh_too(base: Path) -> None:
    assert changed(base, "policy.kind=splitft").policy == SplitFTPolicy()


def test_nested_sections_start_afresh_and_their_neighbours_stay(base: Path) -> None:
    scenario = changed(base, "workload.partition.kind=iid", "workload.batch_size=2")
    assert scenario.workload.partition == IidPartition(min_samples=8)
    assert scenario.workload.batch_size == 2
    assert scenario.policy == SplitFTPolicy(initial_cut=3, gamma_perf=0.9)
    assert scenario.notes == (
        "workload.partition: starts afresh with kind 'iid'; dropped alpha",
    )  # said without `kind`


def test_a_section_with_nothing_to_drop_starts_afresh_silently(base: Path) -> None:
    scenario = changed(base, "workload.optimizer.kind=adamw", "workload.optimizer.eps=1")
    assert scenario.workload.optimizer == OptimizerSection(eps=1.0)
    assert scenario.notes == ()


def test_keys_that_are_also_set_apply_to_the_new_kind_in_any_order(base: Path) -> None:
    overrides = ("policy.cuts={rpi5-8gb: 1}", "policy.kind=per-device", "policy.default=4")
    for order in permutations(overrides):
        assert changed(base, *order).policy == PerDevicePolicy(cuts={"rpi5-8gb": 1}, default=4)


@settings(max_examples=30, deadline=None)
@given(
    order=st.permutations(
        [
            "policy.kind=fixed",
            "policy.cut=4",
            "workload.partition={kind: quantity-skew, alpha: 3}",
            "workload.partition.min_samples=2",
            "fleet.mixture=edge-lab",
            "seed.data=1",
            "seed=2",
        ]
    )
)
def test_the_order_of_overrides_never_matters(tmp_path_factory: pytest.TempPathFactory, order: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "order.yaml"
    path.write_text(BASE, encoding="utf-8")
    scenario = changed(path, *order)
    assert scenario.policy == FixedPolicy(cut=4)
    assert scenario.workload.partition == QuantitySkewPartition(alpha=3.0, min_samples=2)
    assert (scenario.fleet.mixture, scenario.fleet.count) == ("edge-lab", 5)
    assert (scenario.seed.fleet, scenario.seed.data) == (2, 1)
    assert len(scenario.notes) == 2  # of the policy and of the fleet


# --- fleets


def test_a_mixture_takes_over_the_number_of_clients(base: Path) -> None:
    scenario = changed(base, "fleet.mixture=phones-2024")
    assert scenario.fleet.clients is None
    assert scenario.fleet.mixture == "phones-2024"
    assert scenario.fleet.count == 5  # 1 (no count given) + 4
    assert scenario.notes == ("fleet: starts afresh with mixture 'phones-2024'; dropped clients",)


def test_a_mixture_with_a_count_has_that_count(base: Path) -> None:
    for order in permutations(("fleet.mixture=phones-2024", "fleet.count=7")):
        assert changed(base, *order).fleet.count == 7


def test_another_mixture_keeps_the_count_of_the_first(base: Path) -> None:
    base.write_text(MIXTURE, encoding="utf-8")
    scenario = changed(base, "fleet.mixture=phones-2024")
    assert (scenario.fleet.mixture, scenario.fleet.count) == ("phones-2024", 30)
    assert scenario.notes == ()  # nothing was lost


def test_clients_take_the_place_of_a_mixture_and_its_count(base: Path) -> None:
    base.write_text(MIXTURE, encoding="utf-8")
    scenario = changed(base, "fleet.clients=[{device: rpi5-8gb, network: lan-1gbe}]")
    assert to_mapping(scenario)["fleet"] == {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe", "count": 1}]}
    assert scenario.notes == ("fleet: starts afresh with clients; dropped mixture, count",)


def test_asking_for_both_forms_of_a_fleet_is_refused_in_any_order(base: Path) -> None:
    overrides = ("fleet.clients=[{device: rpi5-8gb, network: lan-1gbe}]", "fleet.mixture=edge-lab")
    for order in permutations(overrides):
        (problem,) = problems(base, *order)
        assert problem == "--set: fleet.mixture: excludes 'clients': keep one of the two, got 'edge-lab'"


# --- mistakes


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("rounds", "--set: expected KEY=VALUE, such as rounds=4, got 'rounds'"),
        ("=3", "--set: expected KEY=VALUE, such as rounds=4, got '=3'"),
        ("workload..dropout=0", "--set: expected KEY=VALUE, such as rounds=4, got 'workload..dropout=0'"),
        (f"{'a.' * 5000}b=1", "--set: expected KEY=VALUE, such as rounds=4, got 'a.a.a.a.a."),
        ("rounds=[1", "--set: rounds: not valid YAML"),
        ("rounds=.nan", "--set: rounds: a number must be finite, got .nan"),
        ("rounds=&a 3", "--set: rounds: anchors are not allowed (&a)"),
        ("rounds=many", "--set: rounds: expected a whole number, got 'many'"),
        ("round=3", "--set: round: unknown key; allowed: name, label, seed, rounds, "),
        ("workload.lora.rang=3", "--set: workload.lora.rang: unknown key; allowed: rank, "),
        ("wrkload.lora.rank=3", "--set: wrkload: unknown key; allowed: name, "),
        ("workload.kind=x", "--set: workload.kind: unknown key; allowed: model, "),
        ("kind=x", "--set: kind: unknown key; allowed: name, "),
        (
            "policy.kind=fixt",
            "--set: policy.kind: unknown kind 'fixt'; allowed: splitft, fixed, per-device, random, ",
        ),
        ("rounds.x=3", "--set: rounds: this is 8: nothing can be set below it, as in rounds.x"),
        ("fleet.clients.2.count=3", "--set: fleet.clients.2: no such position in the list; allowed: 0 to 1"),
        ("fleet.clients.one.count=3", "--set: fleet.clients.one: no such position in the list; allowed: 0 to 1"),
        (
            "fleet.clients.0.counts=3",
            "--set: fleet.clients.0.counts: unknown key; allowed: device, network, via, count",
        ),
        ("fleet.clients=[{device: a}]", "--set: fleet.clients.0.network: this key is required"),
        (
            "fleet.count=3",
            "--set: fleet.count: belongs to a mixture; in a list each group of clients has its own count",
        ),
        (
            "workload.partition.num_classes=2",
            "--set: workload.partition.num_classes: unknown key; allowed: kind, alpha, m",
        ),
        ("seed.data=-1", "--set: seed.data: expected a number of at least 0, got -1"),
        # The file is wrong only together with the override: its own line is named, and the message names the other key.
        ("policy.max_cut=2", "base.yaml:12: policy.initial_cut: must not exceed max_cut (2), got 3"),
    ],
)
def test_a_mistake_in_an_override_is_told_as_one(base: Path, override: str, expected: str) -> None:
    (problem,) = problems(base, override)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("override", "suggestion"),
    [
        ("round=3", "did you mean 'rounds'?"),
        ("workload.lora.rang=3", "did you mean 'rank'?"),
        ("wrkload.lora.rank=3", "did you mean 'workload'?"),
        ("fleet.clients.0.counts=3", "did you mean 'count'?"),
    ],
)
def test_a_misspelt_key_gets_a_suggestion(base: Path, override: str, suggestion: str) -> None:
    assert problems(base, override)[0].endswith(suggestion)


def test_all_overrides_that_cannot_be_read_are_named_at_once(base: Path) -> None:
    found = problems(base, "rounds", "seed=[", "label=ok", "stop_at_s=.inf")
    assert [problem.split(":")[1] for problem in found] == [
        " expected KEY=VALUE, such as rounds=4, got 'rounds'",
        " seed",
        " stop_at_s",
    ]


def test_mistakes_of_file_and_overrides_are_told_together_each_in_its_place(base: Path) -> None:
    base.write_text(BASE.replace("rounds: 8", "rounds: 0"), encoding="utf-8")
    assert problems(base, "server.slots=0") == [
        "--set: server.slots: expected a number of at least 1, got 0",
        "base.yaml:3: rounds: expected a number of at least 1, got 0",
    ]


def test_an_override_can_mend_what_is_wrong_in_the_file(base: Path) -> None:
    base.write_text(BASE.replace("rounds: 8", "rounds: 0"), encoding="utf-8")
    assert changed(base, "rounds=1").rounds == 1


def test_a_key_below_a_section_that_was_started_afresh_is_not_looked_for_in_the_file(base: Path) -> None:
    # The mixture drops the list, so position 0 of `clients` can only come from the override.
    found = problems(base, "fleet.mixture=edge-lab", "fleet.clients.0.count=3")
    assert found == ["--set: fleet.clients: expected a list, got a mapping"]
