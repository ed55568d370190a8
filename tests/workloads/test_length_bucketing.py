"""Batches of samples of similar lengths: nothing is lost, less is padded, and it is still random who meets whom."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workloads.batches import batch_sample_ids

LENGTHS = np.random.default_rng(1).integers(2, 200, 1000)


def epoch_rng(epoch):
    return np.random.default_rng([5, epoch])


def sequence(num_samples, batch_size, num_batches, lengths=LENGTHS):
    ids = np.arange(num_samples)
    return np.concatenate(batch_sample_ids(ids, batch_size, num_batches, 1, epoch_rng, lengths=lengths))


@given(st.integers(1, 60), st.integers(1, 6))
def test_every_epoch_has_every_sample_once(num_samples, batch_size):
    read = sequence(num_samples, batch_size, 1 + 3 * num_samples // batch_size)
    for epoch in range(3):
        of_epoch = read[epoch * num_samples : (epoch + 1) * num_samples].tolist()
        assert sorted(of_epoch) == list(range(num_samples))


@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 4), st.integers(1, 6))
def test_rounds_of_any_size_read_one_sequence(num_samples, batch_size, local_steps, num_rounds):
    ids = np.arange(num_samples)
    rounds = [
        batch_sample_ids(ids, batch_size, local_steps, number, epoch_rng, lengths=LENGTHS)
        for number in range(1, num_rounds + 1)
    ]
    at_once = sequence(num_samples, batch_size, local_steps * num_rounds)
    assert np.concatenate([batch for of_round in rounds for batch in of_round]).tolist() == at_once.tolist()


def padding(batches):
    return sum(int((LENGTHS[batch].max() - LENGTHS[batch]).sum()) for batch in batches.reshape(-1, 4))


def test_it_reduces_padding():
    # 400 samples of 2 to 200 tokens, uniform. Four of them at random: the longest has 200 · 4/5 and the mean 200 · 1/2,
    # 30 % of 200 apart. Sorted in four pools of 25 batches, neighbours are 1/100 of the range apart: about 1 %.
    plain, bucketed = (padding(sequence(400, 4, 100, lengths)) for lengths in (None, LENGTHS))
    assert plain / (400 * 200) > 0.25
    assert bucketed / (400 * 200) < 0.02


def test_batches_come_in_random_order_and_differ_from_epoch_to_epoch():
    read = sequence(400, 4, 200)
    first, second = ({frozenset(batch) for batch in epoch.reshape(-1, 4).tolist()} for epoch in np.split(read, 2))
    assert len(first & second) < 10
    longest = LENGTHS[read[:400].reshape(-1, 4)].max(1)
    assert abs(np.corrcoef(longest, np.arange(100))[0, 1]) < 0.3


def test_batches_that_straddle_epochs_shift_no_other_batch():
    # 401 samples in batches of 4: epoch 1 starts with the last 3 places of a batch; its whole batches are the 99 after.
    read = sequence(401, 4, 200)
    batches = read[404:800].reshape(-1, 4)
    assert padding(batches) / (396 * 200) < 0.02
