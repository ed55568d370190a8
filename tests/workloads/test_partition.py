import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.partition import (
    dirichlet,
    iid,
    length_classes,
    length_dirichlet,
    quantity_skew,
    split_exactly,
    train_validation_split,
)
from workloads.texts import DataError

alphas = st.sampled_from([1e-300, 1e-3, 0.1, 0.5, 1.0, 10.0, 1e6, 1e300]) | st.floats(1e-3, 1e6)
seeds = st.integers(0, 2**32)


def rng(seed=0):
    return np.random.default_rng(seed)


def assert_partition(parts, num_samples, num_clients):
    """Nothing is lost or duplicated, and each client's indices ascend."""
    assert len(parts) == num_clients
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_samples))
    assert all((np.diff(part) > 0).all() and part.dtype == np.int64 for part in parts)


def shares_by_class(parts, classes):
    """Samples by client and class."""
    return np.array([np.bincount(classes[part], minlength=classes.max() + 1) for part in parts])


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=300),
    num_clients=st.integers(1, 12),
    alpha=alphas,
    num_classes=st.integers(1, 400),
    bins=st.sampled_from(["quantile", "equal-width"]),
    seed=seeds,
)
def test_length_dirichlet_loses_and_duplicates_nothing(*, lengths, num_clients, alpha, num_classes, bins, seed):
    arguments = {"alpha": alpha, "num_classes": num_classes, "min_samples": 0, "bins": bins}
    parts = length_dirichlet(np.array(lengths, np.int32), num_clients, rng(seed), **arguments)
    assert_partition(parts, len(lengths), num_clients)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 12), alphas, seeds)
def test_iid_and_quantity_skew_lose_and_duplicate_nothing(num_samples, num_clients, alpha, seed):
    assert_partition(
        quantity_skew(num_samples, num_clients, rng(seed), alpha=alpha, min_samples=0), num_samples, num_clients
    )
    parts = iid(num_samples, num_clients, rng(seed), min_samples=0)
    assert_partition(parts, num_samples, num_clients)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@settings(deadline=None)
@given(seeds)
def test_every_client_gets_the_minimum(seed):
    # 5 clients of 400 samples in 4 classes at alpha 0.5: two of five draws leave a client below 25.
    lengths = rng(seed).integers(2, 100, 400)
    parts = length_dirichlet(lengths, 5, rng(seed), alpha=0.5, num_classes=4, min_samples=25)
    assert_partition(parts, 400, 5)
    assert min(len(part) for part in parts) >= 25
    assert min(len(part) for part in quantity_skew(400, 5, rng(seed), alpha=2.0, min_samples=20)) >= 20


def test_one_seed_gives_one_partition_and_another_seed_another():
    lengths = rng().integers(2, 100, 500)
    first, again, other = (
        length_dirichlet(lengths, 4, rng(seed), alpha=0.5, num_classes=4, min_samples=1) for seed in (1, 1, 2)
    )
    assert [part.tolist() for part in first] == [part.tolist() for part in again]
    assert [part.tolist() for part in first] != [part.tolist() for part in other]


def test_a_large_alpha_gives_each_client_its_share_of_every_class():
    lengths = np.arange(800)
    classes = length_classes(lengths, 8)
    parts = length_dirichlet(lengths, 5, rng(), alpha=1e6, num_classes=8, min_samples=8)
    # 8 classes of 100 over 5 clients: 20 each; shares vary by 0.1 %, so rounding moves a count by one at most.
    assert np.abs(shares_by_class(parts, classes) - 20).max() <= 1


def test_a_small_alpha_gives_each_class_to_one_client():
    lengths = np.arange(800)
    classes = length_classes(lengths, 8)
    parts = length_dirichlet(lengths, 5, rng(), alpha=1e-3, num_classes=8, min_samples=0)
    # A second client with 1 % of a class would need two of five exponential draws within 0.001 · ln 100 = 0.005.
    assert shares_by_class(parts, classes).max(axis=0).tolist() == [100] * 8


def test_the_samples_of_a_class_are_dealt_at_random():
    (first, second) = length_dirichlet(np.full(1000, 7), 2, rng(), alpha=1e6, num_classes=3, min_samples=0)
    assert abs(len(first) - 500) <= 2
    # The mean of 500 of 0..999 drawn without replacement is 499.5 ± 9.1; a contiguous half would have 249.5 or 749.5.
    assert 450 < first.mean() < 550
    assert 450 < second.mean() < 550


@pytest.mark.parametrize("alpha", [0.01, 0.3, 0.9, 1.0, 3.0])
def test_dirichlet_draws_have_the_mean_and_variance_of_the_distribution(alpha):
    generator = rng(7)
    draws = np.array([dirichlet(alpha, 4, generator) for _ in range(6000)])
    # Dir(a·1_4): mean 1/4, variance (1/4)(3/4)/(4a + 1). The standard error of a mean is sqrt(var/6000).
    variance = 0.25 * 0.75 / (4 * alpha + 1)
    assert np.abs(draws.mean(axis=0) - 0.25).max() < 4 * np.sqrt(variance / 6000)
    assert draws.var(axis=0).mean() == pytest.approx(variance, rel=0.04)


@given(alphas, st.integers(1, 50), seeds)
def test_dirichlet_shares_are_finite_and_sum_to_one(alpha, num_clients, seed):
    shares = dirichlet(alpha, num_clients, rng(seed))
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1, abs=1e-12)


def test_quantile_classes_hold_equally_many_samples():
    lengths = rng().permutation(100)
    classes = length_classes(lengths, 4)
    assert np.bincount(classes).tolist() == [25, 25, 25, 25]
    # The quarter of the shortest is 0..24, and so on.
    assert classes.tolist() == [length // 25 for length in lengths]


def test_equal_width_classes_cover_equal_ranges_of_length():
    # 10..50 in four ranges of 10; an edge belongs to the class below it.
    lengths = np.array([10, 20, 21, 30, 31, 40, 41, 50])
    assert length_classes(lengths, 4, "equal-width").tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@given(
    st.lists(st.integers(2, 12), min_size=1, max_size=60),
    st.integers(1, 100),
    st.sampled_from(["quantile", "equal-width"]),
)
def test_classes_ascend_with_length_and_never_part_equal_lengths(lengths, num_classes, bins):
    classes = length_classes(np.array(lengths), num_classes, bins)
    assert classes.min() >= 0
    assert classes.max() < num_classes
    by_length = sorted(zip(lengths, classes.tolist(), strict=True))
    for (shorter, lower), (longer, upper) in itertools.pairwise(by_length):
        assert lower <= upper
        assert shorter != longer or lower == upper


def test_unknown_bins_are_refused():
    with pytest.raises(DataError, match=r"bins 'equal' is unknown \(allowed: quantile, equal-width\)"):
        length_classes(np.array([2, 3]), 2, "equal")


@pytest.mark.parametrize(
    ("total", "shares", "counts"),
    [
        (10, [0.5, 0.3, 0.2], [5, 3, 2]),
        (10, [0.55, 0.27, 0.18], [5, 3, 2]),  # 5.5, 2.7, 1.8: floors 5 + 2 + 1, then .8 and .7 are rounded up
        (1, [1 / 3, 1 / 3, 1 / 3], [1, 0, 0]),  # a tie goes to the first
        (0, [0.5, 0.5], [0, 0]),
        (7, [0.0, 1.0], [0, 7]),
    ],
)
def test_a_class_is_split_by_largest_remainder(total, shares, counts):
    assert split_exactly(total, np.array(shares)).tolist() == counts


@given(st.integers(0, 10**9), alphas, st.integers(1, 100), seeds)
def test_a_split_is_exact_and_within_one_of_its_shares(total, alpha, num_clients, seed):
    shares = dirichlet(alpha, num_clients, rng(seed))
    counts = split_exactly(total, shares)
    assert counts.sum() == total
    assert np.abs(counts - shares * total).max() <= 1


def test_a_minimum_beyond_the_data_is_refused_at_once():
    # 5 x 8 = 40 > 39, and 39 // 5 = 7
    message = "5 clients with at least 8 samples each need 40, and the dataset has 39 for training: at most 7 for each"
    with pytest.raises(DataError, match=message):
        length_dirichlet(np.arange(39), 5, rng(), alpha=1.0, num_classes=2, min_samples=8)
    with pytest.raises(DataError, match=message):
        quantity_skew(39, 5, rng(), alpha=1.0, min_samples=8)
    with pytest.raises(DataError, match=message):
        iid(39, 5, rng(), min_samples=8)
    assert {len(part) for part in iid(40, 5, rng(), min_samples=8)} == {8}


def test_more_clients_than_samples_are_told_how_many_clients_are_possible():
    # 39 samples do not go round 40 clients; with 8 each they are enough for 39 // 8 = 4.
    with pytest.raises(DataError, match=r"40 clients .* has 39 for training: at most 4 clients are possible"):
        iid(39, 40, rng(), min_samples=8)


@pytest.mark.parametrize("bins", ["quantile", "equal-width"])
def test_there_are_never_more_classes_than_samples(bins):
    many, enough = (
        length_dirichlet(np.arange(40), 3, rng(), alpha=1.0, num_classes=num, min_samples=1, bins=bins)
        for num in (10**10, 40)  # as many as asked for would take 80 GB
    )
    assert [part.tolist() for part in many] == [part.tolist() for part in enough]


def test_a_minimum_that_no_draw_reaches_is_refused_with_a_way_out():
    # One class at alpha 0.001 goes to one of the ten clients as a whole, however often it is drawn.
    message = (
        r"partition {}, alpha 0\.001: in each of 100 draws some client had fewer than 1 samples \(at best 0\); raise"
    )
    with pytest.raises(DataError, match=message.format("length-dirichlet")):
        length_dirichlet(np.arange(100), 10, rng(), alpha=1e-3, num_classes=1, min_samples=1)
    with pytest.raises(DataError, match=message.format("quantity-skew")):
        quantity_skew(100, 10, rng(), alpha=1e-3, min_samples=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": 0.0},
        {"alpha": -1.0},
        {"alpha": float("nan")},
        {"alpha": float("inf")},
        {"num_clients": 0},
        {"num_classes": 0},
        {"min_samples": -1},
        {"lengths": np.zeros(0, np.int32)},
    ],
)
def test_arguments_without_meaning_are_refused(wrong):
    arguments = {"lengths": np.arange(9), "num_clients": 2, "alpha": 1.0, "num_classes": 2, "min_samples": 0} | wrong
    with pytest.raises(DataError, match="a partition needs num_samples >= 1, num_clients >= 1, num_classes >= 1"):
        length_dirichlet(rng=rng(), **arguments)


@given(st.sets(st.integers(0, 1000), max_size=60), st.floats(0, 0.99), st.integers(0, 40), seeds)
def test_a_validation_split_is_disjoint_complete_and_leaves_something_to_learn(ids, frac, max_samples, seed):
    split = train_validation_split(np.array(sorted(ids), np.int64), frac, max_samples, rng(seed))
    assert sorted([*split.train_ids, *split.validation_ids]) == sorted(ids)
    assert len(split.validation_ids) <= max_samples
    assert len(split.train_ids) >= min(1, len(ids))
    if len(ids) >= 2 and frac > 0 and max_samples:
        assert len(split.validation_ids) >= 1


@pytest.mark.parametrize(
    ("num_samples", "frac", "max_samples", "num_validation"),
    [(20, 0.1, 64, 2), (3, 0.1, 64, 1), (2, 0.9, 64, 1), (1, 0.1, 64, 0), (1000, 0.1, 64, 64), (20, 0.0, 64, 0)],
)
def test_a_client_validates_on_a_fraction_within_bounds(num_samples, frac, max_samples, num_validation):
    split = train_validation_split(np.arange(num_samples), frac, max_samples, rng())
    assert len(split.validation_ids) == num_validation


@pytest.mark.parametrize(("frac", "max_samples"), [(1.0, 4), (-0.1, 4), (float("nan"), 4), (0.1, -1)])
def test_a_validation_split_without_meaning_is_refused(frac, max_samples):
    with pytest.raises(DataError, match="expected 0 <= frac < 1 and max_samples >= 0"):
        train_validation_split(np.arange(9), frac, max_samples, rng())
