"""Energy: power times time by what a device does, null where any of it is unknown, and the sum of every span."""

import dataclasses
import math

import pandas as pd
import pytest

import splitft
from devices.problems import InputError
from devices.profiles import DeviceProfile
from simulator.costs.energy import powers, powers_of, unknown_energy
from simulator.protocols.sfl_v1 import run_round
from simulator.setting import resolve
from splitft.closing import energy_words
from splitft.show import energy
from tests.simulator.device_profiles import LENGTHS, device
from tests.simulator.small_rounds import HandCosts, plan, small_world

STATED = {"power_active_w": 10.0, "power_idle_w": 1.0, "power_transmit_w": 3.0, "power_receive_w": 2.0}
WATTS = {"client": 10.0, "uplink": 3.0, "downlink": 2.0, "server": 1.0, "idle": 1.0}


def stated(**changes: float | None) -> DeviceProfile:
    return device(**{**STATED, **changes})


def play(*plans, powers=WATTS):
    """Run one round of clients whose devices take `powers`; return (log, spans by client and kind)."""
    world, writer = small_world(HandCosts(forward_s=(1.0,) * len(plans)), num_clients=len(plans))
    world.powers = lambda _client: powers
    log = run_round(world, 1, plans)
    writer.spans.flush_round(1)
    return log, writer.records().spans


def test_each_span_takes_the_power_of_what_the_device_does() -> None:
    log, spans = play(plan(0))
    taken = dict(zip(spans.kind, spans.energy_j, strict=True))
    # The round of HandCosts: 4 s down, 1 s forward, 2 s up, 3 s server, 1 s down, 2 s backward, 0.5 s, 3 s up, and
    # 0.25 s in which the server averages.
    expected = {
        "download_adapter": 4 * 2.0,
        "client_forward": 1 * 10.0,
        "upload_activations": 2 * 3.0,
        "server_step": 3 * 1.0,
        "download_gradients": 1 * 2.0,
        "client_backward": 2 * 10.0,
        "client_optimizer": 0.5 * 10.0,
        "upload_adapter": 3 * 3.0,
        "round_wait": 0.25 * 1.0,
    }
    assert {kind: taken[kind] for kind in expected} == pytest.approx(expected)
    # What the server does for itself is no client's energy, and its own is not modelled.
    assert math.isnan(taken["aggregate"])
    assert log.clients[0].energy_j == pytest.approx(sum(expected.values()))


def test_waiting_for_the_server_takes_idle_power() -> None:
    log, spans = play(plan(0), plan(1))
    # Both ask at 7 s; the second waits 3 s.
    [waited] = spans[spans.kind == "server_wait"].energy_j
    assert waited == pytest.approx(3 * 1.0)
    by_client = [spans[spans.client == k].energy_j.sum() for k in range(2)]
    assert [c.energy_j for c in log.clients] == pytest.approx(by_client)


def test_who_has_gone_takes_nothing_more() -> None:
    log, spans = play(plan(0, leaves_s=4.5), plan(1))
    own = spans[spans.client == 0].set_index("kind")
    assert own.energy_j["client_forward"] == pytest.approx(0.5 * 10.0)
    assert own.energy_j["offline"] == 0.0
    assert log.clients[0].energy_j == pytest.approx(4 * 2.0 + 0.5 * 10.0)


def test_a_device_that_does_not_state_everything_has_no_energy_anywhere() -> None:
    log, spans = play(plan(0), powers=None)
    assert spans.energy_j.isna().all()
    assert log.clients[0].energy_j is None


@pytest.mark.parametrize("name", STATED)
def test_powers_need_all_four(name: str) -> None:
    assert powers(stated()) == WATTS
    assert powers(stated(**{name: None})) is None


@pytest.mark.parametrize("name", STATED)
@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_power_that_is_no_power_is_an_error(name: str, bad: float) -> None:
    with pytest.raises(InputError, match=f"device 'box': {name} is {bad}; a power is a finite number above 0"):
        powers_of([stated(), stated(**{name: bad})])


def run(*overrides: str, spans: str = "steps") -> splitft.Run:
    sets = ["execution.trainer=cost-only", "rounds=2", LENGTHS, f"execution.spans={spans}", *overrides]
    return splitft.run(splitft.Scenario.load("quickstart", sets))


def test_unknown_energy_is_null_in_every_table_and_named_once_in_the_end() -> None:
    unknown = run()
    assert unknown.spans.energy_j.isna().all()
    assert unknown.rounds.energy_j.isna().all()
    assert unknown.summary.energy_j is None
    setting = resolve(splitft.Scenario.load("quickstart", ["execution.trainer=cost-only", LENGTHS]))
    words = energy_words(unknown.summary, setting)
    assert words.startswith("unknown: power_idle_w, power_transmit_w, power_receive_w of rpi5-8gb, ")
    assert words.endswith(" and 1 more not stated; `costs.energy: assumed` fills in all but active")


def test_assumed_energy_is_the_sum_of_the_clients_spans() -> None:
    known = run("costs.energy=assumed")
    own = known.spans[known.spans.client >= 0]
    assert own.energy_j.notna().all()
    assert (own.energy_j >= 0).all()
    by_round = own.groupby("round").energy_j.sum()
    assert known.rounds.energy_j.tolist() == pytest.approx(by_round.tolist())
    assert known.summary.energy_j == pytest.approx(own.energy_j.sum())
    assert known.rounds.energy_j.tolist() == run("costs.energy=assumed", spans="none").rounds.energy_j.tolist()
    setting = resolve(
        splitft.Scenario.load("quickstart", ["execution.trainer=cost-only", LENGTHS, "costs.energy=assumed"])
    )
    assert unknown_energy(setting.fleet, "sfl-v1") is None
    assert energy_words(known.summary, setting) == f"{energy(float(own.energy_j.sum()))}; power partly assumed"


def test_energy_changes_no_time() -> None:
    plain, known = run().spans, run("costs.energy=assumed").spans
    pd.testing.assert_frame_equal(plain.drop(columns="energy_j"), known.drop(columns="energy_j"))


def test_energy_is_unknown_where_a_client_does_several_things_at_once_and_check_and_run_say_why() -> None:
    sets = ["execution.trainer=cost-only", "rounds=1", "costs.energy=assumed", "protocol.kind=sfl-pipelined", LENGTHS]
    setting = resolve(splitft.Scenario.load("quickstart", sets))
    done = splitft.run(setting.scenario)
    assert done.rounds.energy_j.isna().all()
    why = unknown_energy(setting.fleet, "sfl-pipelined")
    assert why is not None
    assert energy_words(done.summary, setting) == f"unknown: {why}"
    assert why.startswith("clients compute and send at once in sfl-pipelined")


def test_one_client_of_unknown_energy_makes_the_round_unknown() -> None:
    log, _ = play(plan(0), plan(1))
    from simulator.policies.observe import round_row

    assert round_row(log).energy_j == pytest.approx(sum(c.energy_j for c in log.clients))
    mixed = dataclasses.replace(log, clients=(log.clients[0], dataclasses.replace(log.clients[1], energy_j=None)))
    assert round_row(mixed).energy_j is None


@pytest.mark.parametrize(
    ("joules", "words"), [(417.3, "417 J"), (4173, "4.2 kJ"), (359_000, "359.0 kJ"), (7.2e6, "2.00 kWh")]
)
def test_energy_is_told_in_units_of_its_size(joules: float, words: str) -> None:
    assert energy(joules) == words
