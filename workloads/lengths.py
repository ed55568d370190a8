"""Lengths of samples that nobody has written: for runs of the clock alone, where a text's length is all that counts.

Each distribution is a function from a generator and a number of samples to whole numbers of tokens.
"""

import math
from collections.abc import Callable

import numpy as np

MIN_TOKENS = 2  # one token leaves nothing to predict

Draw = Callable[[np.random.Generator, int], np.ndarray]


def lognormal(median_tokens: int, sigma: float) -> Draw:
    """Return draws whose logarithm is normal around that of the median, with standard deviation `sigma`."""
    mean = math.log(median_tokens)
    return lambda rng, num_samples: np.rint(rng.lognormal(mean, sigma, num_samples))


def uniform(min_tokens: int, max_tokens: int) -> Draw:
    """Return draws of any whole number from least to largest, each as likely."""
    return lambda rng, num_samples: rng.integers(min_tokens, max_tokens, num_samples, endpoint=True)


def fixed(tokens: int) -> Draw:
    """Return the same length each time."""
    return lambda _rng, num_samples: np.full(num_samples, tokens)


def bounded(lengths: np.ndarray, max_length_tokens: int) -> np.ndarray:
    """Return lengths as samples of a dataset have them, int64: at least 2 tokens, and cut at the maximum."""
    clipped: np.ndarray = np.clip(lengths, MIN_TOKENS, max_length_tokens).astype(np.int64)
    return clipped
