"""What a run leaves out, or only assumes, is said: once, and only where it is so."""

import dataclasses

import pytest

from devices.catalogue.lookup import Catalogue
from devices.profiles import Provenance
from simulator.caveats import missing_performance, unused_device, unused_variation
from simulator.costs.overheads import assumed_overhead
from simulator.costs.prediction import mean_padded_length
from simulator.sections.costs import CatalogueJitter, CatalogueThrottle, CostsSection
from simulator.setting import resolve
from tests.small_run import small

COST_ONLY = {"trainer": "cost-only"}
OVERHEAD_S = 0.0015 + 0.003  # of a block, forward and backward: what defaults.yaml assumes


def notes_on_performance(**changes):
    return [note for note in resolve(small(**changes)).notes if "performance term" in note]


def test_a_cost_only_run_says_once_that_the_policys_performance_term_is_0():
    [note] = notes_on_performance(execution=COST_ONLY, policy={"kind": "splitft", "gamma_perf": 0.25})
    assert note.startswith("the policy's performance term is 0, whatever gamma_perf (0.25)")


@pytest.mark.parametrize(
    "changes",
    [
        {"execution": {"trainer": "torch"}, "policy": {"kind": "splitft"}},
        {"execution": COST_ONLY, "policy": {"kind": "splitft", "gamma_perf": 0.0}},
        {"execution": COST_ONLY, "policy": {"kind": "fixed"}},
    ],
    ids=["learning", "no weight", "another policy"],
)
def test_where_performance_is_known_or_not_asked_for_nothing_is_said(changes):
    assert missing_performance(small(**changes)) is None


def test_a_device_that_a_cost_only_run_does_not_use_is_said_to_be_unused():
    named = resolve(small(execution={**COST_ONLY, "device": "cuda:7"})).notes
    assert "execution.device: cuda:7 is neither used nor looked for: a cost-only run computes nothing" in named
    assert not [note for note in resolve(small(execution=COST_ONLY)).notes if "execution.device" in note]
    assert unused_device(small(execution={"trainer": "torch", "device": "cpu"})) is None


def test_what_a_fleet_says_on_varying_speed_is_said_to_be_unused():
    fleet = {"mixture": "phones-2024", "count": 4}
    [note] = [note for note in resolve(small(fleet=fleet, execution=COST_ONLY)).notes if "phones-2024" in note]
    assert "jitter and slowing down with heat" in note


def test_only_what_a_fleet_has_is_named():
    phones = Catalogue().fleet("phones-2024")
    cool = dataclasses.replace(phones, throttle=None)
    assert "jitter of its devices" in (unused_variation(cool, CostsSection()) or "")
    assert unused_variation(dataclasses.replace(cool, compute_jitter_ln_sigma=0.0), CostsSection()) is None


def test_what_a_scenario_charges_for_is_not_said_to_be_left_out():
    phones = Catalogue().fleet("phones-2024")
    left = unused_variation(phones, CostsSection(jitter=CatalogueJitter()))
    assert left is not None
    # Their speed is not constant: it still varies from step to step.
    assert left == (
        "fleet 'phones-2024': slowing down with heat of its devices is left out; "
        "costs.throttle: catalogue charges for them"
    )
    assert unused_variation(phones, CostsSection(jitter=CatalogueJitter(), throttle=CatalogueThrottle())) is None


def test_the_share_of_assumed_overhead_is_that_of_the_blocks_passed():
    setting = resolve(small(execution=COST_ONLY))
    found, length_tokens = assumed_overhead(setting), mean_padded_length(setting)
    steps = {cut: setting.costs.step(0, cut, 2, length_tokens) for cut in range(1, 8)}
    client_s = sum(s.client_forward_s + s.client_backward_s + s.client_optimizer_s for s in steps.values())
    # A client of cut c passes c blocks, the server the other 8 - c; over cuts 1 to 7 each passes 28.
    assert found.client_frac["rpi5-8gb"] == pytest.approx(28 * OVERHEAD_S / client_s)
    assert found.server_frac == pytest.approx(28 * OVERHEAD_S / sum(s.server_step_s for s in steps.values()))
    assert set(found.client_frac) == {"rpi5-8gb", "jetson-orin-nano-8gb", "rtx-3060-12gb"}


def test_an_overhead_that_somebody_has_measured_is_no_assumption():
    setting = resolve(small(execution=COST_ONLY))
    measured = Provenance(kind="measured", source="a stopwatch")
    origins = dict.fromkeys(("block_overhead_forward_s", "block_overhead_backward_s"), measured)
    table = list(setting.fleet.device_table)
    number = [device.id for device in table].index("rpi5-8gb")
    table[number] = dataclasses.replace(table[number], provenance={**table[number].provenance, **origins})
    fleet = dataclasses.replace(setting.fleet, device_table=tuple(table))
    found = assumed_overhead(dataclasses.replace(setting, fleet=fleet))
    assert found.client_frac["rpi5-8gb"] == 0
    assert "0% to " in found.words()
