"""What becomes of clients whose memory cannot hold the cut that a policy forces on them."""

from pathlib import Path

import numpy as np
import pytest

import splitft
from devices.problems import InputError
from devices.units import GIBI
from simulator.costs.fit import held
from simulator.costs.overheads import assumed_overhead
from simulator.participation.availability import Availability
from simulator.policies.observation import Decision
from simulator.setting import Setting, resolve
from tests.simulator.device_profiles import LENGTHS

DEVICE = """\
type: device
tier: sbc
accelerator: cpu
peak_fp32_tflops: 0.15
memory_gib: 8
memory_usable_gib: {usable}
memory_bandwidth_gbyte_per_s: 17
"""
CLIENTS = "fleet.clients=[{device: small, network: lan-1gbe, count: 2}, {device: large, network: lan-1gbe}]"
FIXED = "policy={kind: fixed, cut: 4}"
BASE = ["execution.trainer=cost-only", "rounds=1", CLIENTS, LENGTHS]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a device that holds exactly two blocks of the quickstart's model, and one that holds all."""
    memory = resolve(splitft.Scenario.load("quickstart", ["execution.trainer=cost-only", LENGTHS])).memory
    two_gib = memory.client(2).total_bytes / GIBI
    for name, usable in (("small", f"{two_gib + 1e-9:.9f}"), ("large", "8")):
        (tmp_path / f"{name}.yaml").write_text(DEVICE.format(usable=usable))
    return tmp_path


def setting(own: Path, *overrides: str) -> Setting:
    return resolve(splitft.Scenario.load("quickstart", [*BASE, *overrides]), catalogue=[own])


def run(own: Path, *overrides: str) -> splitft.Run:
    return splitft.run(splitft.Scenario.load("quickstart", [*BASE, *overrides]), catalogue=[own])


def test_by_default_a_forced_cut_that_does_not_fit_is_an_error_that_says_what_it_takes(own: Path) -> None:
    with pytest.raises(InputError) as caught:
        setting(own, FIXED)
    text = str(caught.value)
    assert text.startswith("--set: fleet.clients.0.device: 2 clients cannot hold cut 4: it takes 0.5")
    assert "GiB of small (2 clients); choose another device, a smaller model, a smaller batch or length or" in text
    assert text.endswith("or a cut of at most 2; or leave them out with costs.oom: exclude")


def test_excluded_clients_take_no_part_and_are_told_of(own: Path) -> None:
    excluding = run(own, FIXED, "costs.oom=exclude")
    assert excluding.clients.client.tolist() == [2]
    assert excluding.clients.cut.tolist() == [4]
    assert set(excluding.spans.client) == {2, -1}
    outcome = "2 of 3 clients take no part: they cannot hold cut 4"
    assert setting(own, FIXED, "costs.oom=exclude").fit.outcomes == (outcome,)
    assert f"costs.oom exclude: {outcome}: small (2 clients)" in excluding.notes


def test_lowered_clients_hold_as_many_blocks_as_fit_and_the_record_says_why(own: Path) -> None:
    lowering = run(own, FIXED, "costs.oom=lower-cut")
    assert dict(zip(lowering.clients.client, lowering.clients.cut, strict=True)) == {0: 2, 1: 2, 2: 4}
    assert set(lowering.clients[lowering.clients.client < 2].cut_reason) == {"as many of 4 as fit"}
    assert lowering.clients[lowering.clients.client == 2].cut_reason.tolist() == ["fixed"]
    outcome = "2 of 3 clients hold fewer blocks: they cannot hold cut 4"
    assert setting(own, FIXED, "costs.oom=lower-cut").fit.outcomes == (outcome,)
    assert f"costs.oom lower-cut: {outcome}: small (2 clients) hold cut 2" in lowering.notes


def test_an_adaptive_policy_never_chooses_what_does_not_fit(own: Path) -> None:
    adaptive = run(own, "rounds=6", "policy={kind: splitft, initial_cut: 5}")
    small = adaptive.clients[adaptive.clients.client < 2]
    assert small.cut.max() <= 2
    assert set(small.max_cut) == {2}


def test_the_fewest_blocks_of_an_adaptive_policy_are_forced_too(own: Path) -> None:
    policy = "policy={kind: splitft, initial_cut: 5, min_cut: 3}"
    with pytest.raises(InputError, match="cannot hold cut 3"):
        setting(own, policy)
    assert [setting(own, policy, "costs.oom=lower-cut").least_cut(client) for client in range(3)] == [2, 2, 3]
    lowered = run(own, policy, "rounds=3", "costs.oom=lower-cut").clients
    assert lowered[lowered.client < 2].cut.tolist() == [2] * 6
    assert lowered[lowered.client == 2].cut.min() >= 3
    excluded = run(own, policy, "rounds=3", "costs.oom=exclude").clients
    assert set(excluded.client) == {2}


def test_nothing_is_lower_than_one_block(own: Path) -> None:
    (own / "small.yaml").write_text(DEVICE.format(usable="0.1"))
    with pytest.raises(InputError) as caught:
        setting(own, FIXED, "costs.oom=lower-cut")
    # 512 MiB, the process alone, are more than there is: neither a batch nor a cut can be small enough
    assert "2 clients cannot hold cut 1: it takes 0.51" in str(caught.value)
    assert "GiB of it whatever batch and length), and usable are 0.100 GiB of small (2 clients);" in str(caught.value)
    assert str(caught.value).endswith(
        "choose another device or a smaller model; or leave them out with costs.oom: exclude"
    )
    without = setting(own, FIXED, "costs.oom=exclude")
    assert without.fit.excluded == (True, False)
    assert set(assumed_overhead(without).client_frac) == {"large"}  # the other one can hold no cut at all


def test_a_scenario_that_excludes_more_clients_than_a_round_can_do_without_is_refused(own: Path) -> None:
    # of three clients the two with the small device are excluded
    message = r"selection\.min_clients: costs\.oom leaves 1 client\(s\) that can hold .*, got 2"
    with pytest.raises(InputError, match=message):
        setting(own, FIXED, "costs.oom=exclude", "selection.min_clients=2")
    assert setting(own, FIXED, "costs.oom=exclude", "selection.min_clients=1").fit.excluded == (True, False)


def test_a_scenario_that_excludes_everybody_is_refused(own: Path) -> None:
    with pytest.raises(InputError, match=r"costs\.oom: excludes every client"):
        setting(own, FIXED, "costs.oom=exclude", "fleet.clients=[{device: small, network: lan-1gbe}]")


def test_all_devices_that_cannot_hold_a_cut_are_told_of_once_in_blocks_of_the_model_that_is_charged_for(
    own: Path,
) -> None:
    (own / "large.yaml").write_text(DEVICE.format(usable="2"))
    priced = ("workload.priced_as=llama-2-7b", "policy={kind: splitft}")
    with pytest.raises(InputError) as caught:
        setting(own, *priced)
    [told] = [problem for problem in caught.value.problems if problem.key == "fleet.clients"]
    # 32 blocks stand for the 8 of the model that learns: cut 1 is 4 of them, and there is no shallower one
    assert told.message.startswith("3 clients cannot hold cut 1, which is 4 blocks of llama-2-7b: it takes ")
    assert "GiB of small (2 clients), 2.000 GiB of large (1 client); " in told.message
    assert "a cut of at most" not in told.message
    assert "costs.oom" not in told.message  # nobody would be left


def test_the_server_has_copies_for_those_who_take_part_alone(own: Path) -> None:
    # A server that holds the part of one client with cut 4, and not that of three.
    memory = setting(own, FIXED, "costs.oom=exclude").memory
    one, three = (memory.server([4] * num, steps_at_once=1).total_bytes for num in (1, 3))
    assert three > one
    (own / "server.yaml").write_text(DEVICE.format(usable=f"{one / GIBI + 1e-9:.9f}"))
    overrides = (FIXED, "server.device=server")
    assert setting(own, *overrides, "costs.oom=exclude").fit.excluded == (True, False)
    with pytest.raises(InputError, match=r"server\.device: device 'server' cannot hold .* for 3 clients"):
        setting(own, *overrides, "costs.oom=lower-cut")


def test_a_round_waits_for_clients_that_may_take_part(own: Path) -> None:
    model = setting(own, FIXED, "costs.oom=exclude").availability
    availability = Availability(model, 3, seed=0, absent=np.array([True, True, False]))
    assert availability.next_start_s(0.0, 1, 1) == 0.0
    assert availability.reachable().tolist() == [2]
    assert availability.next_start_s(0.0, 1, 2) == np.inf  # two are never there


def test_a_decision_that_fits_is_left_alone() -> None:
    decision = Decision(cuts={0: 1, 1: 3}, reasons={0: "a", 1: "b"}, memory={0: 1.0})
    assert held(decision, lambda _: 3) is decision
    lowered = held(decision, lambda _: 2)
    assert (lowered.cuts, lowered.memory) == ({0: 1, 1: 2}, {0: 1.0})
    assert lowered.reasons == {0: "a", 1: "as many of 3 as fit"}
