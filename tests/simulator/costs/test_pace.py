"""Variation and heat: numbers with a mean, a place of their own, and a course that can be followed by hand."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import splitft
from devices.fleets import Throttle
from simulator.costs.pace import Heat, Pace, Variation, hot_frac
from simulator.protocols.sfl_v1 import run_round
from simulator.setting import resolve
from tests.simulator.device_profiles import LENGTHS
from tests.simulator.small_rounds import HandCosts, plan, small_world

SHORT = ["execution.trainer=cost-only", "rounds=2", LENGTHS]
HALF = Throttle(after_s=10.0, mean_frac=0.5, low_frac=0.5, high_frac=0.5)  # all devices are alike


def pace(**changes: object) -> Pace:
    made = Variation(**changes).pace(seed=0)  # type: ignore[arg-type]
    assert made is not None
    return made


def test_without_variation_and_heat_there_is_no_pace() -> None:
    assert Variation().pace(seed=0) is None


def test_varied_times_have_the_mean_and_the_spread_asked_for() -> None:
    varied = pace(client_ln_sigma=0.15)
    factors = [varied.client_factor("client_forward", k, 1, step) for k, step in product(range(40), range(1, 51))]
    # The mean of exp(sigma z - sigma²/2) is 1; 2,000 draws miss it by 0.15 / sqrt(2000) = 0.3 %, one standard error.
    assert np.mean(factors) == pytest.approx(1.0, rel=0.012)
    assert np.std(np.log(factors)) == pytest.approx(0.15, rel=0.06)


def test_a_time_belongs_to_its_client_round_step_and_phase_and_to_no_order() -> None:
    places = list(product(("client_forward", "client_backward"), range(3), range(1, 3), (-1, 1, 2)))

    def factors(varied: Pace, order: list[tuple[str, int, int, int]]) -> dict[tuple[str, int, int, int], float]:
        return {place: varied.client_factor(*place) for place in order}

    forwards = factors(pace(client_ln_sigma=0.2), places)
    assert factors(pace(client_ln_sigma=0.2), places[::-1]) == forwards
    assert len(set(forwards.values())) == len(places)


def test_clients_and_server_vary_on_their_own() -> None:
    clients, server = pace(client_ln_sigma=0.2), pace(server_ln_sigma=0.2)
    assert clients.client_factor("client_forward", 0, 1, 1) != 1.0
    assert clients.server_factor("server_step", 0, 1, 1) == 1.0
    assert server.client_factor("client_forward", 0, 1, 1) == 1.0
    assert server.server_factor("server_step", 0, 1, 1) != 1.0


def test_a_device_slows_down_when_it_is_hot_and_cools_while_it_does_nothing() -> None:
    heat = Heat(after_s=10.0, frac=0.5)
    assert heat.computing_s(6.0, 0.0) == 6.0  # 6 s warm at 6
    assert heat.computing_s(6.0, 6.0) == 4.0 + 2.0 / 0.5  # 4 s until it is hot, then half as fast: hot at 14
    assert heat.computing_s(1.0, 14.0) == 2.0  # hot at 16
    assert heat.computing_s(5.0, 19.0) == 3.0 + 2.0 / 0.5  # 3 s of rest make 3 s of full speed: hot at 26
    assert heat.computing_s(10.0, 100.0) == 10.0  # cold again


def test_a_computation_that_was_broken_off_leaves_no_more_heat_than_being_hot() -> None:
    heat = Heat(after_s=10.0, frac=0.5)
    heat.computing_s(9.0, 0.0)  # broken off at 1
    assert heat.computing_s(1.0, 1.0) == 1.0
    assert heat.computing_s(1.0, 2.0) == 2.0  # 10 s warm, though only 2 have passed


def test_heat_stays_from_round_to_round_once_a_round_is_settled() -> None:
    warm = pace(throttle=HALF)
    first = warm.heat(7)
    assert first is not None
    first.computing_s(10.0, 0.0)
    untouched = warm.heat(7)
    assert untouched is not None
    assert untouched.warm_s == 0.0  # a round that is only tried changes nothing
    warm.keep(7, first)
    assert warm.heat(7) == first
    assert warm.heat(8) == untouched
    assert pace(client_ln_sigma=0.1).heat(7) is None


def test_shares_of_speed_have_the_mean_and_lie_between_the_bounds() -> None:
    throttle = Throttle(after_s=300.0, mean_frac=0.8, low_frac=0.65, high_frac=0.99)
    shares = [hot_frac(throttle, 0, client) for client in range(2000)]
    # Scaled Beta with alpha + beta = 6: place 0.15 / 0.34 = 0.441, variance 0.34² · 0.441 · 0.559 / 7, std 0.0638.
    assert min(shares) > 0.65
    assert max(shares) < 0.99
    assert np.mean(shares) == pytest.approx(0.8, abs=4 * 0.0638 / math.sqrt(2000))
    assert np.std(shares) == pytest.approx(0.0638, rel=0.08)


@pytest.mark.parametrize("frac", [0.65, 0.99])
def test_a_mean_at_a_bound_leaves_no_spread(frac: float) -> None:
    throttle = Throttle(after_s=1.0, mean_frac=frac, low_frac=0.65, high_frac=0.99)
    assert {hot_frac(throttle, 0, client) for client in range(5)} == {frac}


@given(
    seconds=st.lists(st.floats(0.01, 20), min_size=1, max_size=6),
    pauses=st.lists(st.floats(0, 20), min_size=6, max_size=6),
    frac=st.floats(0.1, 1.0),
)
@settings(max_examples=60)
def test_heat_never_speeds_anybody_up_nor_slows_by_more_than_its_share(
    seconds: list[float], pauses: list[float], frac: float
) -> None:
    heat, now_s = Heat(after_s=10.0, frac=frac), 0.0
    for work_s, pause_s in zip(seconds, pauses, strict=False):
        taken_s = heat.computing_s(work_s, now_s)
        assert work_s * (1 - 1e-12) <= taken_s <= work_s / frac * (1 + 1e-12)
        now_s += taken_s + pause_s


def variation(*overrides: str, scenario: str = "cost-only-phones") -> Variation:
    return resolve(splitft.Scenario.load(scenario, ["fleet.count=5", LENGTHS, *overrides])).variation


def test_a_scenario_takes_numbers_of_its_mixture_of_its_own_or_none() -> None:
    assert variation() == Variation()
    of_mixture = variation("costs.jitter=catalogue", "costs.throttle=catalogue")
    assert of_mixture.client_ln_sigma == 0.15
    assert of_mixture.server_ln_sigma == 0.0
    assert of_mixture.throttle == Throttle(after_s=300, mean_frac=0.8, low_frac=0.65, high_frac=0.99)
    own = variation(
        "costs.jitter={client_ln_sigma: 0.3, server_ln_sigma: 0.02}",
        "costs.throttle={kind: heat, after_s: 5, mean_frac: 0.7}",
    )
    assert (own.client_ln_sigma, own.server_ln_sigma) == (0.3, 0.02)
    assert own.throttle == Throttle(after_s=5, mean_frac=0.7, low_frac=0.65, high_frac=0.99)


def test_listed_clients_vary_as_the_catalogue_assumes_and_stay_cool() -> None:
    setting = resolve(
        splitft.Scenario.load("quickstart", [*SHORT, "costs.jitter=catalogue", "costs.throttle=catalogue"])
    )
    assert setting.variation == Variation(client_ln_sigma=0.15)


def spans(*overrides: str) -> splitft.Run:
    return splitft.run(splitft.Scenario.load("quickstart", [*SHORT, *overrides]))


def test_variation_changes_computing_alone_and_the_seed_decides_how() -> None:
    plain, varied, again = spans(), spans("costs.jitter=lognormal"), spans("costs.jitter=lognormal")
    assert varied.records.meta["spans_sha256"] == again.records.meta["spans_sha256"]
    assert varied.records.meta["spans_sha256"] != plain.records.meta["spans_sha256"]
    other = spans("costs.jitter=lognormal", "seed.fleet=3")
    assert other.records.meta["spans_sha256"] != varied.records.meta["spans_sha256"]

    def first(run: splitft.Run, kind: str) -> float:
        span = run.spans[(run.spans.kind == kind) & (run.spans.client == 0)].iloc[0]
        return float(span.end_s - span.start_s)

    assert first(varied, "client_forward") != first(plain, "client_forward")
    assert first(varied, "server_step") == pytest.approx(first(plain, "server_step"), rel=1e-9)
    assert first(varied, "download_adapter") == first(plain, "download_adapter")


def test_jitter_of_width_zero_is_no_jitter_to_the_bit() -> None:
    zero = spans("costs.jitter={kind: lognormal, client_ln_sigma: 0, server_ln_sigma: 0}")
    assert zero.records.meta["spans_sha256"] == spans().records.meta["spans_sha256"]


def test_a_device_is_as_warm_at_the_start_of_a_round_as_it_was_left() -> None:
    # On fast links a round of HandCosts is 1 s forward, 3 s of the server (the device cools), 2 s backward, 0.5 s, and
    # 0.25 s until the next: 2.25 s warm. Of the next forward pass 0.75 s are at full speed, and 0.25 s at half of it.
    world, writer = small_world(HandCosts(), uplink=1e15, downlink=1e15, server_uplink=1e15)
    world.pace = pace(throttle=Throttle(after_s=3.0, mean_frac=0.5, low_frac=0.5, high_frac=0.5))
    for number in (1, 2):
        run_round(world, number, [plan(0)])
        writer.spans.flush_round(number)
    spans = writer.records().spans
    forward = spans[spans.kind == "client_forward"]
    assert (forward.end_s - forward.start_s).tolist() == pytest.approx([1.0, 1.25], abs=1e-5)


def test_hot_devices_take_longer() -> None:
    fixed = "policy={kind: fixed, cut: 2}"
    hot = spans(fixed, "costs.throttle={kind: heat, after_s: 0, mean_frac: 0.5, low_frac: 0.5, high_frac: 0.5}")
    cool = spans(fixed)

    def busy_s(run: splitft.Run) -> list[float]:
        computing = run.spans[run.spans.kind == "client_forward"]
        return (computing.end_s - computing.start_s).groupby(computing["round"]).sum().tolist()

    assert busy_s(hot) == pytest.approx([2 * busy_s(cool)[0], 2 * busy_s(cool)[1]], rel=1e-9)
