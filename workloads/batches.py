"""Which samples a client uses when, and padded batches of them.

A batch is right-padded: under causal attention no real token attends to a padded one after it, so no mask is needed.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator

import numpy as np

from workloads.tokenized import TokenizedDataset

IGNORED_LABEL = -100  # what cross entropy in PyTorch and transformers leaves out


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Padded samples. Nobody changes the arrays: they stay writable only because PyTorch cannot wrap read-only ones.

    Attributes:
        ids: int32 of shape [B, T], token ids, padded on the right.
        labels: int32 of shape [B, T], the same ids with -100 on the padding; the loss shifts them.
        lengths: int32 of shape [B], real tokens of each sample.
    """

    ids: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of shape and arrays."""
        digest = hashlib.sha256(f"{self.ids.shape};".encode())
        for array in (self.ids, self.labels, self.lengths):
            digest.update(np.ascontiguousarray(array, "<i4").data)
        return digest.hexdigest()

    @functools.cached_property
    def num_tokens(self) -> int:
        """Real tokens, padding excluded."""
        return int(self.lengths.sum())

    @property
    def length_tokens(self) -> int:
        """Padded length T."""
        return int(self.ids.shape[1])


def batch_sample_ids(
    client_ids: np.ndarray,
    batch_size: int,
    local_steps: int,
    round_number: int,
    permutation_rng: Callable[[int], np.random.Generator],
    *,
    lengths: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Return the sample ids of each batch of one client in one round: `local_steps` arrays of `batch_size`.

    The client reads an endless sequence: epoch after epoch of all its samples, each in an order of its own. Round r
    reads positions (r - 1)·S·B up to r·S·B, whether or not the client took part in earlier rounds, so the batches
    depend on client and round alone. A batch may straddle two epochs and then hold a sample twice; a client with
    fewer samples than a batch repeats them in every batch.

    Args:
        client_ids: the client's training samples, at least one.
        batch_size: B.
        local_steps: S.
        round_number: r, counted from 1.
        permutation_rng: makes the generator of an epoch's order, by epoch counted from 0.
        lengths: tokens of each sample of the dataset, to let samples of similar lengths share a batch; None for an
            order that knows no lengths.

    Raises:
        ValueError: for a client without samples.
    """
    num_samples = len(client_ids)
    if not num_samples:
        raise ValueError("a client without samples has no batches; raise partition.min_samples")
    num_positions = local_steps * batch_size
    epochs, places = np.divmod((round_number - 1) * num_positions + np.arange(num_positions), num_samples)
    sequence = np.empty(num_positions, np.int64)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        rng = permutation_rng(epoch)
        order = rng.permutation(num_samples)
        if lengths is not None:
            order = _bucketed(order, lengths[client_ids], batch_size, -epoch * num_samples % batch_size, rng)
        here = epochs == epoch
        sequence[here] = client_ids[order[places[here]]]
    return list(sequence.reshape(local_steps, batch_size))


def _bucketed(
    order: np.ndarray, lengths: np.ndarray, batch_size: int, start: int, rng: np.random.Generator
) -> np.ndarray:
    """Return an epoch's order in which the samples of each batch have similar lengths.

    The shuffled samples are sorted within pools of many batches, so that it still changes from epoch to epoch who meets
    whom, and the batches are shuffled. A pool is a quarter of the epoch, at most 50 batches, as transformers'
    `LengthGroupedSampler` has it. Batches that straddle two epochs stay as they are.

    Args:
        order: places of the samples in `lengths`, shuffled.
        lengths: tokens.
        batch_size: B.
        start: place of the epoch's first whole batch.
        rng: shuffles the batches.
    """
    num_batches = max(0, len(order) - start) // batch_size
    pool = max(1, min(50, num_batches // 4)) * batch_size
    end = start + num_batches * batch_size
    pools = [order[first : min(first + pool, end)] for first in range(start, end, pool)]
    ordered = [of_pool[np.argsort(lengths[of_pool], kind="stable")] for of_pool in pools]
    batches = np.concatenate([order[:0], *ordered]).reshape(num_batches, batch_size)[rng.permutation(num_batches)]
    return np.concatenate([order[:start], batches.ravel(), order[end:]])


def padded_length(lengths: np.ndarray, sample_ids: np.ndarray) -> int:
    """Return T of the batch of these samples, from the dataset's lengths alone: what a cost-only run needs."""
    return int(lengths[sample_ids].max())


def make_batch(dataset: TokenizedDataset, sample_ids: np.ndarray, *, pad_id: int) -> Batch:
    """Return the samples as one batch, padded with `pad_id` to the longest of them."""
    lengths = dataset.lengths[sample_ids]
    shape = (len(sample_ids), padded_length(dataset.lengths, sample_ids))
    ids = np.full(shape, pad_id, np.int32)
    labels = np.full(shape, IGNORED_LABEL, np.int32)
    for row, sample_id in enumerate(sample_ids.tolist()):
        tokens = dataset.sample(sample_id)
        ids[row, : len(tokens)] = tokens
        labels[row, : len(tokens)] = tokens
    return Batch(ids=ids, labels=labels, lengths=lengths)


def evaluation_sample_ids(lengths: np.ndarray, ids: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Return the samples of each evaluation batch: every one once, by length and then by id, so that padding is small.

    The last batch may be smaller.
    """
    ordered = ids[np.lexsort((ids, lengths[ids]))]
    return [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]


def evaluation_batches(dataset: TokenizedDataset, ids: np.ndarray, batch_size: int, *, pad_id: int) -> Iterator[Batch]:
    """Yield the batches of `evaluation_sample_ids`."""
    for sample_ids in evaluation_sample_ids(dataset.lengths, ids, batch_size):
        yield make_batch(dataset, sample_ids, pad_id=pad_id)
