import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.defaults import defaults
from devices.network_file import network_profile
from devices.networks import Z_90, NetworkProfile, Route, Spread
from devices.profiles import Provenance
from devices.strict_yaml import InputError, parse_document

MBIT = 125_000.0  # bytes/s


def network(text: str) -> NetworkProfile:
    return network_profile(parse_document(text, "net.yaml"), "net")


def refused(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        network(text)
    return str(caught.value).splitlines()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


CONSTANT = "downlink_mbit_per_s: 50\nuplink_mbit_per_s: 10.5\nrtt_ms: 25\n"
SKEWED = (
    "downlink_mbit_per_s: {p10: 30.49, p50: 285, p90: 698.6}\n"
    "uplink_mbit_per_s: {p10: 6, p50: 48, p90: 300}\n"
    "rtt_ms: {p10: 8, p50: 14, p90: 40}\n"
)


def test_the_ninety_percent_point_of_the_normal() -> None:
    # P(z < Z_90) = (1 + erf(Z_90 / sqrt 2)) / 2 = 0.9
    assert (1 + math.erf(Z_90 / math.sqrt(2))) / 2 == pytest.approx(0.9, abs=1e-15)


# ---- spreads


@given(st.tuples(st.floats(0.1, 1e4), st.floats(1, 50), st.floats(1, 50)), st.floats(0.1, 4))
def test_a_spread_meets_its_quantiles_and_is_lognormal_beyond(parts: tuple[float, float, float], tail: float) -> None:
    p10, p50, p90 = parts[0], parts[0] * parts[1], parts[0] * parts[1] * parts[2]
    spread = Spread.quantiles(p10, p50, p90)

    values = spread.at(np.array([-Z_90, 0.0, Z_90, (1 + tail) * Z_90, -Z_90 / 2]), 1e12)

    if p10 == p90:
        assert values == pytest.approx(p50)
        return
    assert values[:3] == pytest.approx([p10, p50, p90], rel=1e-9)
    # Beyond the 90 % point the logarithm goes on with the same slope in z; half-way in z is half-way in logarithm.
    assert values[3] == pytest.approx(p90 * (p90 / p50) ** tail, rel=1e-9)
    assert values[4] == pytest.approx(math.sqrt(p10 * p50), rel=1e-9)


@given(st.floats(-8, 8), st.floats(-8, 8))
def test_a_larger_draw_never_gives_a_smaller_value(first: float, second: float) -> None:
    low, high = sorted((first, second))
    values = Spread.quantiles(1e5, 3e6, 5e6).at(np.array([low, high]), 1.0)

    assert values[0] <= values[1]


def test_drawn_values_are_whole_steps_and_never_zero() -> None:
    values = Spread.lognormal(3.0, 2.0).at(np.linspace(-8, 8, 101), 1.0)

    assert np.array_equal(values, np.rint(values))
    assert values.min() == 1.0


# ---- networks


def test_a_network_of_plain_numbers_draws_exactly_these() -> None:
    downlink, uplink, latency = network(CONSTANT).sample(rng(), 3)

    assert downlink.tolist() == [50 * MBIT] * 3
    assert uplink.tolist() == [10.5 * MBIT] * 3
    assert latency.tolist() == [0.0125] * 3  # half of 25 ms
    assert network(CONSTANT).median() == (50 * MBIT, 10.5 * MBIT, 0.0125)
    assert network(CONSTANT.replace("50", "{value: 50, kind: vendor}")).median() == network(CONSTANT).median()


def test_samples_have_the_stated_quantiles() -> None:
    downlink, uplink, latency = network(SKEWED).sample(rng(), 200_000)

    # The standard error of a quantile of 200,000 draws is below 1 % of these values; 3 % is generous.
    assert np.quantile(downlink, [0.1, 0.5, 0.9]) == pytest.approx(np.array([30.49, 285, 698.6]) * MBIT, rel=0.03)
    assert np.quantile(uplink, [0.1, 0.5, 0.9]) == pytest.approx(np.array([6, 48, 300]) * MBIT, rel=0.03)
    assert np.quantile(latency, [0.1, 0.5, 0.9]) == pytest.approx(np.array([4, 7, 20]) * 1e-3, rel=0.03)


def test_a_lognormal_is_given_by_the_logarithm_of_its_unit() -> None:
    stated = network(CONSTANT.replace("50", "{ln_mu: 3.912, ln_sigma: 0.5}")).downlink_bytes_per_s

    assert stated is not None
    assert stated.median == pytest.approx(math.exp(3.912) * MBIT)
    assert stated.sigma_low == stated.sigma_high == 0.5


def test_quantiles_count_where_a_lognormal_is_given_too() -> None:
    both = network(SKEWED.replace("p90: 698.6", "p90: 698.6, ln_mu: 5.652, ln_sigma: 1.222"))

    assert both.downlink_bytes_per_s == network(SKEWED).downlink_bytes_per_s


def test_a_median_alone_takes_its_spread_from_the_defaults_and_says_so() -> None:
    median = network(CONSTANT.replace("50", "{p50: 50, kind: measured, source: a report}"))

    assert median.downlink_bytes_per_s == Spread.lognormal(50 * MBIT, defaults().networks.rate_ln_sigma.value)
    assert median.provenance["downlink_bytes_per_s"].kind == "assumed"
    assert median.provenance["downlink_bytes_per_s.median"] == Provenance(kind="measured", source="a report")


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.71, 1.0])
def test_down_and_up_are_correlated_as_stated(rho: float) -> None:
    lognormal = "{ln_mu: 5, ln_sigma: 1}"
    text = f"downlink_mbit_per_s: {lognormal}\nuplink_mbit_per_s: {lognormal}\nrtt_ms: {{ln_mu: 3, ln_sigma: 0.5}}\n"

    down, up, latency = network(text + f"downlink_uplink_correlation: {rho}\n").sample(rng(), 100_000)

    # Standard error of a correlation of 100,000 draws: below 0.0032.
    assert np.corrcoef(np.log(down), np.log(up))[0, 1] == pytest.approx(rho, abs=0.015)
    assert np.corrcoef(np.log(down), np.log(latency))[0, 1] == pytest.approx(0, abs=0.015)


def test_a_blank_correlation_is_assumed() -> None:
    assert network(CONSTANT).downlink_uplink_correlation == defaults().networks.downlink_uplink_correlation.value
    assert network(CONSTANT).provenance["downlink_uplink_correlation"].kind == "assumed"


def test_a_network_without_uplink_or_rtt_is_listed_but_its_use_names_the_keys_to_add() -> None:
    half = network("downlink_mbit_per_s: 50\n")

    assert not half.usable
    assert half.missing == ("uplink_mbit_per_s", "rtt_ms")
    for use in (half.median, lambda: half.sample(rng(), 2)):
        with pytest.raises(InputError, match="network 'net' cannot be used: uplink_mbit_per_s and rtt_ms are not"):
            use()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uplink_mbit_per_s: -3", "uplink_mbit_per_s: expected a number of at least 1e-09 or a mapping, got -3"),
        ("uplink_mbit_per_s: {value: 0}", "uplink_mbit_per_s.value: expected a number of at least 1e-09, got 0"),
        ("uplink_mbit_per_s: {p10: 3, p50: 4}", "uplink_mbit_per_s: give `value`; or `p10`, `p50` and `p90`; or "),
        ("uplink_mbit_per_s: {value: 3, p50: 4}", "uplink_mbit_per_s: give `value`; or "),
        ("uplink_mbit_per_s: {ln_mu: 3}", "uplink_mbit_per_s: give `value`; or "),
        ("uplink_mbit_per_s: {}", "uplink_mbit_per_s: give `value`; or "),
        ("uplink_mbit_per_s: {ln_mu: 1000, ln_sigma: 1}", "uplink_mbit_per_s.ln_mu: expected a number of at most 20"),
        ("uplink_mbit_per_s: 1e-7", "uplink_mbit_per_s: must be at least 8e-06 (1 byte/s), got 1e-07"),
        (
            "uplink_mbit_per_s: 1e300",
            "uplink_mbit_per_s: expected a number of at most 1,000,000,000 or a mapping, got 1e+300",
        ),
        ("rtt_ms: 1e300", "rtt_ms: expected a number of at most 1,000,000,000 or a mapping, got 1e+300"),
        ("rtt_ms: {p10: 9, p50: 8, p90: 10}", "rtt_ms: p10, p50 and p90 must not decrease, got 9, 8, 10"),
        ("rtt_ms: {ln_mu: 3, ln_sigma: -1}", "rtt_ms.ln_sigma: expected a number of at least 0, got -1"),
        ("downlink_uplink_correlation: 2", "downlink_uplink_correlation: expected a number of at most 1"),
        ("latency_ms: 3", "latency_ms: unknown key; allowed: type, id, label, "),
    ],
)
def test_a_mistake_is_named_with_its_line_and_key(text: str, message: str) -> None:
    (line,) = refused(text)

    assert line.startswith(f"net.yaml:1: {message}")


# ---- via


def test_a_route_via_another_network_takes_the_lower_rates_and_both_latencies() -> None:
    access = network(CONSTANT)
    wifi = network("downlink_mbit_per_s: 40\nuplink_mbit_per_s: 20\nrtt_ms: 5\n")

    downlink, uplink, latency = Route(network=access, via=wifi).at(rng().random((2, 8)))

    assert downlink.tolist() == [40 * MBIT] * 2
    assert uplink.tolist() == [10.5 * MBIT] * 2
    assert latency.tolist() == [0.0125 + 0.0025] * 2


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_a_route_is_never_faster_than_either_network(seed: int) -> None:
    access, wifi = network(SKEWED), network(SKEWED.replace("285", "100"))
    uniform = rng(seed).random((5, 8))

    route = Route(network=access, via=wifi).at(uniform)

    for alone in (access.at(uniform[:, :4]), wifi.at(uniform[:, 4:])):
        assert (route[0] <= alone[0]).all()
        assert (route[1] <= alone[1]).all()
        assert (route[2] > alone[2]).all()
