"""Losses in nats per token, and what follows from them."""

import math
from collections.abc import Mapping

from workloads.tasks import TrainResult


def perplexity(loss: float) -> float:
    """Return exp(loss): infinite where it is beyond what a float holds, not a number where the loss is none."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def mean_train_loss(trained: Mapping[int, TrainResult]) -> float | None:
    """Return the mean over clients of the mean loss of their steps; None where nobody trained."""
    means = [sum(result.losses) / len(result.losses) for result in trained.values()]
    return sum(means) / len(means) if means else None
