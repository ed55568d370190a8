"""What the clock needs to know of the samples of clients: how long the batches are that they are trained on."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from simulator.draws import generator
from simulator.protocols.rounds import PaddedBatch
from workloads.batches import batch_sample_ids

IdArray = np.ndarray[tuple[int], np.dtype[np.int64]]


class ClientData(Protocol):
    """The samples of a run, as far as the clock is concerned."""

    @property
    def longest_tokens(self) -> int:
        """Return the tokens of the longest sample that there can be: it decides how much memory a batch takes."""

    @property
    def num_samples(self) -> IdArray:
        """Return how many training samples each client has."""

    @property
    def summary(self) -> str:
        """Return how many samples there are, in words."""

    @property
    def content(self) -> Mapping[str, object]:
        """Return what identifies the samples; with the seed it decides every batch."""

    def padded_steps(self, client: int, round: int) -> tuple[PaddedBatch, ...]:  # noqa: A002
        """Return the padded size of each local step of a round."""

    def padded_validation(self, client: int) -> tuple[PaddedBatch, ...]:
        """Return the padded size of each batch of a client's validation part."""


def step_ids(
    ids: IdArray,
    batch_size: int,
    local_steps: int,
    seed: int,
    *,
    client: int,
    round: int,  # noqa: A002
    lengths: IdArray | None,
) -> list[IdArray]:
    """Return which of a client's samples are in each batch of a round (`workloads.batches.batch_sample_ids`)."""

    def epoch(number: int) -> np.random.Generator:
        return generator(seed, "batches", client=client, round=number)

    return batch_sample_ids(ids, batch_size, local_steps, round, epoch, lengths=lengths)


def padded(lengths: np.ndarray) -> PaddedBatch:
    """Return the size of a batch of samples of these lengths."""
    return PaddedBatch(num_samples=len(lengths), length_tokens=int(lengths.max()), num_real_tokens=int(lengths.sum()))
