"""Losses and what follows from them, also where a run has diverged."""

import math

import pytest

from simulator.learning.losses import mean_train_loss, perplexity
from workloads.tasks import TrainResult


def test_perplexity_is_the_exponential_of_the_loss():
    assert perplexity(math.log(50.0)) == pytest.approx(50.0)


def test_a_loss_beyond_what_a_float_can_be_the_exponent_of_has_no_finite_perplexity():
    assert perplexity(710.0) == math.inf  # exp(709.8) is about the largest float
    assert perplexity(math.inf) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_the_training_loss_of_a_round_is_the_mean_over_clients_of_the_mean_over_steps():
    losses = {0: (1.0, 3.0), 1: (4.0,)}
    trained = {client: TrainResult(key="k", losses=own, num_tokens=9) for client, own in losses.items()}
    assert mean_train_loss(trained) == 3.0  # (2 + 4) / 2
    assert mean_train_loss({}) is None
