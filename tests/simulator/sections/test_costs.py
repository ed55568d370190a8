"""The `costs` section of a scenario: what it takes, what it refuses, and how overrides reach it."""

import pytest

from devices.problems import InputError
from simulator.scenario import Scenario, to_mapping
from simulator.sections.costs import CatalogueJitter, CostsSection, HeatThrottle, LognormalJitter, NoThrottle

FLEET = {"clients": [{"device": "rpi5-8gb", "network": "lan-1gbe"}]}


def costs(section: object) -> CostsSection:
    return Scenario.from_mapping({"fleet": FLEET, "costs": section}).costs


def problem(section: object) -> str:
    with pytest.raises(InputError) as caught:
        costs(section)
    return str(caught.value)


def test_by_default_nothing_is_charged_beyond_the_plain_model() -> None:
    plain = CostsSection()
    assert costs({}) == plain
    assert (plain.training_stack.clients, plain.training_stack.server) == (None, None)
    assert (plain.attention, plain.oom, plain.energy) == ("whole", "error", "stated")
    assert (plain.jitter.kind, plain.throttle.kind) == ("none", "none")


def test_a_word_is_a_kind_and_a_mapping_without_one_has_numbers_of_its_own() -> None:
    assert costs({"jitter": "catalogue"}).jitter == CatalogueJitter()
    assert costs({"jitter": {"client_ln_sigma": 0.3}}).jitter == LognormalJitter(client_ln_sigma=0.3)
    assert costs({"throttle": {"after_s": 60}}).throttle == HeatThrottle(after_s=60)
    assert costs({"throttle": "none"}).throttle == NoThrottle()


def test_a_section_comes_back_from_plain_data() -> None:
    section = {
        "training_stack": {"clients": "mobilefinetuner-cpu", "server": "pytorch-lora"},
        "attention": "flash",
        "jitter": {"kind": "lognormal", "client_ln_sigma": 0.2, "server_ln_sigma": 0.01},
        "throttle": {"kind": "heat", "after_s": 10.0, "mean_frac": 0.7, "low_frac": 0.6, "high_frac": 0.8},
        "oom": "exclude",
        "energy": "assumed",
    }
    scenario = Scenario.from_mapping({"fleet": FLEET, "costs": section})
    assert to_mapping(scenario)["costs"] == section
    assert Scenario.from_mapping(to_mapping(scenario)) == scenario


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"stack": "pytorch-lora"}, "costs.stack: unknown key; allowed: training_stack, attention, jitter, throttle,"),
        ({"training_stack": {"client": "x"}}, "costs.training_stack.client: unknown key; allowed: clients, server"),
        ({"training_stack": "pytorch-lora"}, "costs.training_stack: expected a mapping, got 'pytorch-lora'"),
        ({"attention": "flush"}, "costs.attention: expected 'whole' or 'flash', got 'flush'; did you mean 'flash'?"),
        ({"jitter": "log"}, "costs.jitter.kind: unknown kind 'log'; allowed: none, catalogue, lognormal"),
        ({"jitter": 0.15}, "costs.jitter: expected a word or a mapping with its kind"),
        ({"jitter": {"client_ln_sigma": -0.1}}, "costs.jitter.client_ln_sigma: expected a number of at least 0"),
        ({"jitter": {"server_ln_sigma": 3}}, "costs.jitter.server_ln_sigma: expected a number of at most 2, got 3"),
        ({"throttle": {"after": 1}}, "costs.throttle.after: unknown key; allowed: kind, after_s, mean_frac,"),
        ({"throttle": {"mean_frac": 0}}, "costs.throttle.mean_frac: expected a number greater than 0"),
        ({"throttle": {"mean_frac": 0.5}}, "costs.throttle.mean_frac: must be from 0.65 to 0.99"),
        ({"throttle": {"low_frac": 0.9, "high_frac": 0.8}}, "costs.throttle.low_frac: must not exceed high_frac (0.8)"),
        ({"oom": "ignore"}, "costs.oom: expected 'error', 'exclude' or 'lower-cut', got 'ignore'"),
        ({"energy": True}, "costs.energy: expected 'stated' or 'assumed', got true"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_is_allowed(section: object, message: str) -> None:
    assert message in problem(section)


def test_overrides_change_a_kind_or_a_number_of_it() -> None:
    loaded = Scenario.load("quickstart", ["costs.jitter=catalogue", "costs.throttle.after_s=5"])
    assert loaded.costs.jitter == CatalogueJitter()
    assert loaded.costs.throttle == HeatThrottle(after_s=5)
    again = Scenario.load("quickstart", ["costs.jitter.kind=lognormal", "costs.jitter.server_ln_sigma=0.1"])
    assert again.costs.jitter == LognormalJitter(server_ln_sigma=0.1)


@pytest.mark.parametrize("part", ["clients", "server"])
def test_an_unknown_training_stack_is_named_at_load(part: str) -> None:
    from simulator.setting import resolve

    with pytest.raises(InputError, match=rf"costs\.training_stack\.{part}: unknown training stack 'torch'; allowed: "):
        resolve(Scenario.load("quickstart", ["execution.trainer=cost-only", f"costs.training_stack.{part}=torch"]))
