"""Variation and heat: numbers with a mean, a place of their own, and a course that can be followed by hand."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import splitft
from devices.fleets import Throttle
from simulator.pace import Pace, Variation, hot_frac
from simulator.setting import resolve
from tests.simulator.device_profiles import LENGTHS

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
    times = [varied.client_s("client_forward", k, 1, step, 2.0, 0.0) for k, step in product(range(40), range(1, 51))]
    # The mean of exp(sigma z - sigma²/2) is 1; 2,000 draws miss it by 0.15 / sqrt(2000) = 0.3 %, one standard error.
    assert np.mean(times) == pytest.approx(2.0, rel=0.012)
    assert np.std(np.log(times)) == pytest.approx(0.15, rel=0.06)


def test_a_time_belongs_to_its_client_round_step_and_phase_and_to_no_order() -> None:
    places = list(product(("client_forward", "client_backward"), range(3), range(1, 3), (-1, 1, 2)))

    def times(varied: Pace, order: list[tuple[str, int, int, int]]) -> dict[tuple[str, int, int, int], float]:
        return {(kind, k, r, s): varied.client_s(kind, k, r, s, 1.0, 0.0) for kind, k, r, s in order}

    forwards = times(pace(client_ln_sigma=0.2), places)
    assert times(pace(client_ln_sigma=0.2), places[::-1]) == forwards
    assert len(set(forwards.values())) == len(places)


def test_clients_and_server_vary_on_their_own() -> None:
    clients, server = pace(client_ln_sigma=0.2), pace(server_ln_sigma=0.2)
    assert clients.client_s("client_forward", 0, 1, 1, 1.0, 0.0) != 1.0
    assert clients.server_s("server_step", 0, 1, 1, 1.0) == 1.0
    assert server.client_s("client_forward", 0, 1, 1, 1.0, 0.0) == 1.0
    assert server.server_s("server_step", 0, 1, 1, 1.0) != 1.0


def test_a_device_slows_down_when_it_is_hot_and_cools_while_it_does_nothing() -> None:
    warm = pace(throttle=HALF)

    def compute(seconds: float, now_s: float) -> float:
        return warm.client_s("client_forward", 7, 1, 1, seconds, now_s)

    assert compute(6.0, 0.0) == 6.0  # 6 s warm at 6
    assert compute(6.0, 6.0) == 4.0 + 2.0 / 0.5  # 4 s until it is hot, then half as fast: hot at 14
    assert compute(1.0, 14.0) == 2.0  # hot at 16
    assert compute(5.0, 19.0) == 3.0 + 2.0 / 0.5  # 3 s of rest make 3 s of full speed: hot at 26
    assert compute(10.0, 100.0) == 10.0  # cold again
    assert warm.client_s("client_forward", 8, 1, 1, 10.0, 0.0) == 10.0  # another device has its own heat


def test_a_computation_that_was_broken_off_leaves_no_more_heat_than_its_time() -> None:
    warm = pace(throttle=HALF)
    warm.client_s("client_forward", 0, 1, 1, 9.0, 0.0)  # broken off at 1
    assert warm.client_s("client_forward", 0, 2, 1, 1.0, 1.0) == 1.0
    # From 1 on it has 10 s at most behind it: it is as warm as one that computed 9 s and 1 s.
    assert warm.client_s("client_forward", 0, 2, 2, 1.0, 2.0) == 2.0


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
    warm = pace(throttle=Throttle(after_s=10.0, mean_frac=frac, low_frac=frac, high_frac=frac))
    now_s = 0.0
    for work_s, pause_s in zip(seconds, pauses, strict=False):
        taken_s = warm.client_s("client_forward", 0, 1, 1, work_s, now_s)
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


def test_hot_devices_take_longer() -> None:
    hot = spans("costs.throttle={kind: heat, after_s: 0, mean_frac: 0.5, low_frac: 0.5, high_frac: 0.5}")
    cool = spans()

    def busy_s(run: splitft.Run) -> float:
        computing = run.spans[run.spans.kind == "client_forward"]
        return float((computing.end_s - computing.start_s)[computing["round"] == 1].sum())

    assert busy_s(hot) == pytest.approx(2 * busy_s(cool), rel=1e-9)
