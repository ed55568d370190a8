import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.batches import (
    Batch,
    batch_sample_ids,
    evaluation_batches,
    evaluation_sample_ids,
    make_batch,
    padded_length,
)
from workloads.tokenized import TokenizedDataset


def dataset_of(samples):
    return TokenizedDataset(
        tokens=np.array([token for sample in samples for token in sample], np.int32),
        offsets=np.cumsum([0, *(len(sample) for sample in samples)]),
        digest="",
        texts_digest="",
        num_truncated=0,
        num_dropped=0,
    )


def epoch_rng(epoch):
    return np.random.default_rng([5, epoch])


@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 5), st.integers(1, 8))
def test_a_client_reads_epoch_after_epoch(num_samples, batch_size, local_steps, num_rounds):
    client_ids = np.arange(num_samples) * 10 + 3
    sequence = []
    for round_number in range(1, num_rounds + 1):
        batches = batch_sample_ids(client_ids, batch_size, local_steps, round_number, epoch_rng)
        assert [len(batch) for batch in batches] == [batch_size] * local_steps
        sequence += np.concatenate(batches).tolist()
    epochs = [sequence[start : start + num_samples] for start in range(0, len(sequence), num_samples)]
    for number, epoch in enumerate(epochs):
        # Epoch e is all the client's samples in the order that its generator gives; the last may be unfinished.
        order = epoch_rng(number).permutation(num_samples)
        assert epoch == client_ids[order].tolist()[: len(epoch)]


def test_a_round_draws_only_the_epochs_it_reads():
    drawn = []

    def permutation_rng(epoch):
        drawn.append(epoch)
        return epoch_rng(epoch)

    # Round 3 of 2 steps of 4 reads positions 16..23; with 10 samples that is the end of epoch 1 and the start of 2.
    batch_sample_ids(np.arange(10), 4, 2, 3, permutation_rng)
    assert drawn == [1, 2]


def test_a_client_with_fewer_samples_than_a_batch_repeats_them():
    (batch,) = batch_sample_ids(np.array([7, 8, 9]), 4, 1, 1, epoch_rng)
    assert sorted(batch[:3].tolist()) == [7, 8, 9]
    assert batch[3] in {7, 8, 9}
    (only,) = batch_sample_ids(np.array([7]), 3, 1, 5, epoch_rng)
    assert only.tolist() == [7, 7, 7]


def test_a_client_without_samples_has_no_batches():
    with pytest.raises(ValueError, match=r"without samples has no batches; raise partition\.min_samples"):
        batch_sample_ids(np.zeros(0, np.int64), 4, 1, 1, epoch_rng)


def test_a_batch_is_padded_on_the_right_to_its_longest_sample():
    dataset = dataset_of([[1, 2, 3], [4, 5], [6, 7, 8, 9, 10]])
    batch = make_batch(dataset, np.array([1, 0]), pad_id=99)
    assert batch.ids.tolist() == [[4, 5, 99], [1, 2, 3]]
    assert batch.labels.tolist() == [[4, 5, -100], [1, 2, 3]]
    assert batch.lengths.tolist() == [2, 3]
    assert {array.dtype for array in (batch.ids, batch.labels, batch.lengths)} == {np.dtype(np.int32)}
    assert batch.num_tokens == 5
    assert batch.length_tokens == 3


def test_a_padding_token_inside_a_text_keeps_its_label():
    # GPT-2 and the bundled model pad with their end-of-text token, which the model must still learn to predict.
    batch = make_batch(dataset_of([[5, 0], [6, 7, 0]]), np.array([0, 1]), pad_id=0)
    assert batch.ids.tolist() == [[5, 0, 0], [6, 7, 0]]
    assert batch.labels.tolist() == [[5, 0, -100], [6, 7, 0]]


def test_a_batch_is_its_own_copy():
    dataset = dataset_of([[1, 2], [3, 4]])
    batch = make_batch(dataset, np.array([0]), pad_id=0)
    batch.ids[0, 0] = 9
    batch.lengths[0] = 9
    assert dataset.tokens.tolist() == [1, 2, 3, 4]
    assert dataset.lengths.tolist() == [2, 2]
    assert batch.labels.tolist() == [[1, 2]]


def make(ids, labels, lengths):
    return Batch(ids=np.array(ids, np.int32), labels=np.array(labels, np.int32), lengths=np.array(lengths, np.int32))


def test_the_digest_names_the_content_in_order():
    batches = [
        make([[1, 2], [3, 4]], [[1, 2], [3, 4]], [2, 2]),
        make([[3, 4], [1, 2]], [[3, 4], [1, 2]], [2, 2]),
        make([[1, 2], [3, 4]], [[1, 2], [3, -100]], [2, 2]),
        make([[1, 2], [3, 4]], [[1, 2], [3, 4]], [2, 1]),
        make([[1, 2, 3, 4]], [[1, 2, 3, 4]], [2, 2]),
        make([[1, 2], [3, 5]], [[1, 2], [3, 4]], [2, 2]),
    ]
    assert len({batch.digest for batch in batches}) == len(batches)
    assert make([[1, 2], [3, 4]], [[1, 2], [3, 4]], [2, 2]).digest == batches[0].digest


@given(st.lists(st.integers(2, 9), min_size=1, max_size=12), st.data())
def test_the_padded_length_needs_no_tokens(lengths, data):
    dataset = dataset_of([[1] * length for length in lengths])
    sample_ids = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=6)))
    expected = make_batch(dataset, sample_ids, pad_id=0).length_tokens
    assert padded_length(dataset.lengths, sample_ids) == expected


def test_evaluation_goes_by_length_then_by_id():
    lengths = np.array([5, 2, 9, 2, 5, 3])
    for ids in ([0, 1, 2, 3, 4, 5], [4, 3, 5, 2, 0, 1]):
        batches = evaluation_sample_ids(lengths, np.array(ids), 2)
        assert [batch.tolist() for batch in batches] == [[1, 3], [5, 0], [4, 2]]


def test_evaluation_batches_hold_each_sample_once_and_the_last_may_be_smaller():
    dataset = dataset_of([[1, 1, 1], [2, 2], [3, 3, 3, 3], [4, 4]])
    batches = list(evaluation_batches(dataset, np.array([0, 2, 3]), 2, pad_id=0))
    assert [batch.ids.tolist() for batch in batches] == [[[4, 4, 0], [1, 1, 1]], [[3, 3, 3, 3]]]
    assert list(evaluation_batches(dataset, np.zeros(0, np.int64), 2, pad_id=0)) == []
