"""Times drawn from distributions: their means, and what remains of one at a random moment."""

import numpy as np
import pytest

from devices.availability import HyperexponentialDuration, LognormalDuration, WeibullDuration, mean_s
from simulator.participation.durations import remaining_s, times_s

NUM = 200_000
DURATIONS = [
    LognormalDuration(ln_mu_s=1.0, ln_sigma=0.7),
    HyperexponentialDuration(first_frac=0.3, mean1_s=1.0, mean2_s=6.0),
    WeibullDuration(shape=0.8, scale_s=2.0),
    WeibullDuration(shape=2.0, scale_s=2.0),
]


@pytest.mark.parametrize("duration", DURATIONS, ids=repr)
def test_the_mean_of_many_times_is_the_mean(duration):
    drawn = times_s(duration, np.random.default_rng(0).random((NUM, 2)))
    assert drawn.min() > 0
    assert drawn.mean() == pytest.approx(mean_s(duration), abs=5 * drawn.std() / NUM**0.5)


def test_an_exponential_is_a_mixture_of_one_and_forgets():
    exponential = HyperexponentialDuration(first_frac=1.0, mean1_s=3.0, mean2_s=1.0)
    drawn = np.random.default_rng(0).random((NUM, 3))
    assert (remaining_s(exponential, drawn) == times_s(exponential, drawn)).all()


@pytest.mark.parametrize("duration", DURATIONS, ids=repr)
def test_what_remains_at_a_random_moment_follows_the_equilibrium_distribution(duration):
    """P(remaining > x) is the integral of P(time > u) over u from x on, over the mean (Cox 1962, section 5.4)."""
    rng = np.random.default_rng(1)
    remaining, times = remaining_s(duration, rng.random((NUM, 3))), times_s(duration, rng.random((NUM, 2)))
    for x in mean_s(duration) * np.array([0.2, 1.0, 3.0]):
        expected = np.maximum(times - x, 0).mean() / mean_s(duration)  # that integral is the mean of max(time - x, 0)
        assert (remaining > x).mean() == pytest.approx(expected, abs=0.01)
