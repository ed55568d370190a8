"""Statistics against answers that are known."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.statistics import (
    MIN_BOOTSTRAP,
    half_width,
    main_effects,
    paired_difference,
    pareto_front,
    time_to_target,
)


def pairs(rng, num_pairs, effect):
    """Return two settings that share what differs from seed to seed, which is ten times the noise of either."""
    shared = rng.normal(100, 10, num_pairs)
    return shared + effect + rng.normal(0, 1, num_pairs), shared + rng.normal(0, 1, num_pairs)


@pytest.mark.parametrize("num_pairs", [3, 5, 20])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_constructed_effect_is_found_with_its_sign_and_size(num_pairs, sign):
    """An effect of 20 is 14 standard deviations (sqrt 2) of a difference; unpaired, it would be 1.4."""
    for seed in range(20):
        found = paired_difference(*pairs(np.random.default_rng(seed), num_pairs, 20.0 * sign))
        assert found.is_significant
        assert found.mean == pytest.approx(20.0 * sign, abs=4)  # 4 is 5 standard errors of 3 pairs
        assert found.low <= found.mean <= found.high
        assert found.num_pairs == num_pairs


@pytest.mark.parametrize(
    ("num_pairs", "method", "least", "most"),
    # 400 intervals of coverage 0.95 miss 20 +- 4.4 times: within 4 standard deviations, 0.905 to 0.995 cover.
    [(3, "student", 0.905, 0.995), (8, "student", 0.905, 0.995), (12, "bootstrap", 0.905, 0.995)],
)
def test_intervals_cover_the_true_difference_as_often_as_they_say(num_pairs, method, least, most, monkeypatch):
    monkeypatch.setattr("analysis.statistics.NUM_RESAMPLES", 1_000)
    rng = np.random.default_rng(3)
    found = [paired_difference(*pairs(rng, num_pairs, 2.0)) for _ in range(400)]
    assert {item.method for item in found} == {method}
    coverage = sum(item.low <= 2.0 <= item.high for item in found) / len(found)
    assert least <= coverage <= most


@pytest.mark.parametrize(("num_pairs", "most"), [(3, 0.095), (5, 0.095), (12, 0.095)])
def test_no_effect_is_seldom_significant(num_pairs, most, monkeypatch):
    """By the bounds above. Of three pairs a plain bootstrap would call a quarter significant: all of one sign."""
    monkeypatch.setattr("analysis.statistics.NUM_RESAMPLES", 1_000)
    rng = np.random.default_rng(4)
    found = [paired_difference(*pairs(rng, num_pairs, 0.0)).is_significant for _ in range(400)]
    assert sum(found) / len(found) <= most


def test_pairs_of_one_seed_are_one_repetition(monkeypatch):
    """No effect; four fleets differ by the same noise of their seed, so that 3 seeds make 12 pairs of 3 repetitions.

    Taken for 12 repetitions they would be called significant half of the time.
    """
    monkeypatch.setattr("analysis.statistics.NUM_RESAMPLES", 1_000)
    rng, found = np.random.default_rng(5), []
    for _ in range(400):
        noise = np.repeat(rng.normal(0, 1, 3), 4) + rng.normal(0, 0.1, 12)
        found.append(paired_difference(100 + noise, [100.0] * 12, [seed for seed in range(3) for _ in range(4)]))
    assert {(item.num_pairs, item.num_seeds, item.method) for item in found} == {(12, 3, "student")}
    assert sum(item.is_significant for item in found) / len(found) <= 0.095  # by the bounds above


def test_many_pairs_of_a_single_seed_claim_nothing():
    found = paired_difference([3.0, 5.0, 4.0], [1.0, 1.0, 1.0], [0, 0, 0])
    assert (found.mean, found.low, found.num_pairs, found.num_seeds, found.method) == (3.0, None, 3, 1, "none")


def test_seeds_count_alike_however_many_pairs_they_have():
    found = paired_difference([2.0, 2.0, 2.0, 4.0], [0.0] * 4, [0, 0, 0, 1])
    assert found.mean == 3.0  # of 2 and 4


def test_a_difference_of_rounding_is_none():
    found = paired_difference([0.1 + 0.2, 1e6], [0.3, 1e6 * (1 + 2e-16)])
    assert (found.mean, found.is_significant) == (0.0, False)
    small = paired_difference([2e-13, 3e-13, 4e-13], [1e-13, 2e-13, 3e-13])  # but small numbers may differ
    assert small.is_significant


def test_equal_runs_have_no_significant_difference():
    assert not paired_difference([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).is_significant
    assert not paired_difference([5.0] * 20, [5.0] * 20).is_significant


def test_the_same_difference_in_every_pair_is_significant_and_exact():
    found = paired_difference([3.0, 4.0, 5.0], [1.0, 2.0, 3.0])
    assert (found.mean, found.low, found.high, found.is_significant) == (2.0, 2.0, 2.0, True)


def test_of_a_single_pair_nothing_is_claimed():
    found = paired_difference([3.0], [1.0])
    assert (found.mean, found.low, found.high, found.method) == (2.0, None, None, "none")
    assert not found.is_significant


def test_students_interval_is_that_of_the_tables():
    # mean 2, standard deviation 1, three values: 4.3027 / sqrt(3) on either side
    assert half_width(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)


def test_pairs_with_an_unknown_number_are_left_out():
    found = paired_difference([1.0, math.nan, 4.0], [0.0, 0.0, 1.0])
    assert (found.mean, found.num_pairs) == (2.0, 2)
    for unknown in (math.nan, math.inf):
        with pytest.raises(ValueError, match="no pair"):
            paired_difference([unknown], [unknown])


def test_the_same_numbers_give_the_same_bootstrap_interval():
    numbers = pairs(np.random.default_rng(1), MIN_BOOTSTRAP, 1.0)
    assert paired_difference(*numbers) == paired_difference(*numbers)


def test_without_censoring_the_median_and_mean_are_the_plain_ones():
    found = time_to_target([1.0, 2.0, 3.0, 10.0], [True] * 4)
    assert (found.median_s, found.mean_s, found.num_reached) == (2.0, 4.0, 4)


def test_a_run_that_never_reaches_the_target_counts_as_not_yet():
    """Reached at 1 and 3; watched in vain until 2 and 5.

    Kaplan & Meier: 4 at risk at 1: S = 3/4; of the 2 left at 3: S = 3/4 * 1/2 = 3/8, at or below 1/2 first at 3. Until
    2, where the first watch ends: 1 * 1 + 3/4 * 1.
    """
    found = time_to_target([1.0, 3.0, 2.0, 5.0], [True, True, False, False])
    assert (found.median_s, found.num_runs, found.num_reached) == (3.0, 4, 2)
    assert (found.mean_s, found.horizon_s) == (1.75, 2.0)


def test_fewer_than_half_have_no_median_and_none_at_all_no_mean_but_the_watch():
    assert time_to_target([1.0, 4.0, 4.0], [True, False, False]).median_s is None
    found = time_to_target([3.0, 5.0], [False, False])
    assert (found.median_s, found.mean_s, found.num_reached) == (None, 3.0, 0)


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_front_is_what_nothing_beats(points):
    frame = pd.DataFrame(points, columns=list("abc"))
    front = pareto_front(frame, list("abc"))
    for point, is_on_front in zip(points, front, strict=True):
        beaten = any(all(o <= p for o, p in zip(other, point, strict=True)) and other != point for other in points)
        assert is_on_front == (not beaten)
    assert front.any()


def test_a_row_with_an_unknown_number_is_not_on_the_front():
    frame = pd.DataFrame({"time": [1.0, 2.0, math.nan], "loss": [2.0, 1.0, 0.0]})
    assert list(pareto_front(frame, ["time", "loss"])) == [True, True, False]


def test_in_some_metrics_higher_is_better():
    frame = pd.DataFrame({"time": [1.0, 2.0, 3.0], "accuracy": [0.1, 0.3, 0.2]})
    assert list(pareto_front(frame, ["time", "accuracy"], ["accuracy"])) == [True, True, False]


def test_a_front_of_unknown_numbers_is_refused():
    with pytest.raises(ValueError, match="no case with a known time and loss"):
        pareto_front(pd.DataFrame({"time": [1.0, math.nan], "loss": [math.nan, 2.0]}), ["time", "loss"])


def test_main_effects_of_a_known_function():
    """Y = 3 a + 1 b + 2 ab on a, b = +-1: sums of squares 9 : 1 : 4 of 14."""
    rows = [(a, b, 3 * a + b + 2 * a * b) for a in (-1, 1) for b in (-1, 1) for _ in range(2)]
    frame = pd.DataFrame(rows, columns=["a", "b", "y"])
    found = main_effects(frame, ["a", "b"], "y").set_index("effect")
    assert list(found.index) == ["a", "b", "a x b"]
    assert list(found["share"]) == pytest.approx([9 / 14, 1 / 14, 4 / 14])
    assert (found.loc["a", "low"], found.loc["a", "high"]) == (-3.0, 3.0)


def test_a_factor_without_effect_explains_nothing():
    frame = pd.DataFrame({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1], "y": [1.0, 2.0, 1.0, 2.0]})
    assert list(main_effects(frame, ["a", "b"], "y")["share"]) == pytest.approx([0.0, 1.0, 0.0])


def test_effects_of_a_grid_with_holes_are_refused():
    frame = pd.DataFrame({"a": [0, 0, 1], "b": [0, 1, 0], "y": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match="whole grid"):
        main_effects(frame, ["a", "b"], "y")
    with pytest.raises(ValueError, match="unknown in 1 of 2"):
        main_effects(pd.DataFrame({"a": [0, 1], "y": [1.0, math.nan]}), ["a"], "y")
    with pytest.raises(ValueError, match="nothing varies but seeds"):
        main_effects(pd.DataFrame({"a": [0, 0], "y": [1.0, 2.0]}), ["a"], "y")


def test_rounding_is_no_effect():
    frame = pd.DataFrame({"a": [0, 1], "y": [0.3, 0.1 + 0.2]})
    assert list(main_effects(frame, ["a"], "y")["share"]) == [0.0]


def test_factors_that_vary_together_have_one_effect():
    frame = pd.DataFrame(
        [(a, f"of {a}", b, 10 * a + b) for a in (0, 1, 2) for b in (0, 1)], columns=["a", "a2", "b", "y"]
    )
    found = main_effects(frame, ["a", "a2", "b"], "y")
    assert list(found["effect"]) == ["a & a2", "b", "a & a2 x b"]
    assert found["share"].sum() == pytest.approx(1.0)
