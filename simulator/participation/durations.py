"""How long clients stay and stay away: times of a catalogue's distributions from uniform numbers."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri

from devices.availability import Duration, HyperexponentialDuration, LognormalDuration

Floats: TypeAlias = NDArray[np.float64]


def times_s(duration: Duration, uniform: Floats) -> Floats:
    """Return one time in s for each row of two uniform numbers in [0, 1)."""
    match duration:
        case LognormalDuration(ln_mu_s=mu, ln_sigma=sigma):
            return np.exp(mu + sigma * ndtri(uniform[:, 0]))
        case HyperexponentialDuration(first_frac=first, mean1_s=mean1, mean2_s=mean2):
            return np.where(uniform[:, 0] < first, mean1, mean2) * -np.log1p(-uniform[:, 1])
        case _:
            return duration.scale_s * (-np.log1p(-uniform[:, 0])) ** (1 / duration.shape)


def remaining_s(duration: Duration, uniform: Floats) -> Floats:
    """Return what remains of the time that is under way at a random moment, for each row of three uniform numbers.

    A moment falls into a time with a probability in proportion to that time, and uniformly within it (Cox 1962,
    Renewal Theory, section 5.4). Weighted by length, a log-normal is one of mu + sigma^2, an exponential of a mixture
    has its weight times its mean and remains what it is, and a Weibull is a gamma of shape 1 + 1/k to the power 1/k.
    """
    match duration:
        case LognormalDuration(ln_mu_s=mu, ln_sigma=sigma):
            return uniform[:, 2] * np.exp(mu + sigma**2 + sigma * ndtri(uniform[:, 0]))
        case HyperexponentialDuration(first_frac=first, mean1_s=mean1, mean2_s=mean2):
            weight = first * mean1 / (first * mean1 + (1 - first) * mean2)
            return np.where(uniform[:, 0] < weight, mean1, mean2) * -np.log1p(-uniform[:, 1])
        case _:
            power = gammaincinv(1 + 1 / duration.shape, uniform[:, 0])
            remaining: Floats = uniform[:, 2] * duration.scale_s * power ** (1 / duration.shape)
            return remaining
