"""A text divided over clients: who has which samples, and in which batches they are trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from simulator.data.client_data import IdArray, padded, step_ids
from simulator.draws import generator
from simulator.protocols.rounds import PaddedBatch
from simulator.scenario import Scenario
from workloads import partition
from workloads.batches import Batch, evaluation_batches, evaluation_sample_ids, make_batch
from workloads.data import TokenizedDataset, held_out_split


@dataclass(frozen=True, kw_only=True)
class DividedText:
    """The samples of a text, divided.

    Attributes:
        dataset: all samples, tokenised.
        tokenizer_digest: of the tokenizer that made them.
        training: per client, the ids of its training samples.
        validation: per client, the ids of its own validation samples.
        held_out: ids of the global held-out samples, which no client has.
        batch_size, local_steps, length_bucketing, seed: from the scenario.
        pad_token_id: what fills a batch up to its longest sample; never looked at, since its labels are ignored.
    """

    dataset: TokenizedDataset
    tokenizer_digest: str
    training: tuple[IdArray, ...]
    validation: tuple[IdArray, ...]
    held_out: IdArray
    batch_size: int
    local_steps: int
    length_bucketing: bool
    seed: int
    pad_token_id: int

    @property
    def longest_tokens(self) -> int:
        """Return the tokens of the longest sample."""
        return int(self.dataset.lengths.max())

    @property
    def num_samples(self) -> IdArray:
        """Return how many training samples each client has."""
        return np.array([len(ids) for ids in self.training], dtype=np.int64)

    @property
    def summary(self) -> str:
        """Return how many samples there are, in words."""
        return f"{len(self.dataset):,} samples, {len(self.held_out):,} held out"

    @property
    def content(self) -> Mapping[str, object]:
        """Return the digests of texts and tokenizer."""
        return {
            "tokenizer": self.tokenizer_digest,
            "dataset": self.dataset.texts_digest,
            "samples": len(self.dataset),
        }

    def padded_steps(self, client: int, round: int) -> tuple[PaddedBatch, ...]:  # noqa: A002
        """Return the padded size of each local step of a round."""
        return tuple(padded(self.dataset.lengths[ids]) for ids in self._step_ids(client, round))

    def padded_validation(self, client: int) -> tuple[PaddedBatch, ...]:
        """Return the padded size of each batch of a client's validation part."""
        ids = evaluation_sample_ids(self.dataset.lengths, self.validation[client], self.batch_size)
        return tuple(padded(self.dataset.lengths[batch]) for batch in ids)

    def training_batches(self, client: int, round: int) -> tuple[Batch, ...]:  # noqa: A002
        """Return the batches of a client's round in order."""
        return tuple(make_batch(self.dataset, ids, pad_id=self.pad_token_id) for ids in self._step_ids(client, round))

    def validation_batches(self, client: int) -> tuple[Batch, ...]:
        """Return the batches of a client's own validation part."""
        return tuple(
            evaluation_batches(self.dataset, self.validation[client], self.batch_size, pad_id=self.pad_token_id)
        )

    def held_out_batches(self, batch_size: int) -> tuple[Batch, ...]:
        """Return the batches of the global held-out part."""
        return tuple(evaluation_batches(self.dataset, self.held_out, batch_size, pad_id=self.pad_token_id))

    def _step_ids(self, client: int, round: int) -> list[IdArray]:  # noqa: A002
        lengths = self.dataset.lengths if self.length_bucketing else None
        ids = self.training[client]
        return step_ids(ids, self.batch_size, self.local_steps, self.seed, client=client, round=round, lengths=lengths)


def divide(
    scenario: Scenario, dataset: TokenizedDataset, num_clients: int, *, tokenizer_digest: str, pad_token_id: int
) -> DividedText:
    """Hold out the evaluation part, give every client its samples, and split off each client's validation part.

    Raises:
        DataError: the samples do not go round; the message says what to change.
    """
    seed, workload = scenario.seed.data, scenario.workload
    kept, held_out = held_out_split(
        len(dataset.lengths),
        scenario.evaluation.held_out_frac,
        scenario.evaluation.max_samples,
        generator(seed, "held out"),
    )
    parts = _partitioner(scenario)(dataset.lengths[kept], num_clients, generator(seed, "partition"))
    own = [
        partition.train_validation_split(
            kept[part],
            workload.validation.frac,
            workload.validation.max_samples,
            generator(seed, "validation", client=client),
        )
        for client, part in enumerate(parts)
    ]
    return DividedText(
        dataset=dataset,
        tokenizer_digest=tokenizer_digest,
        training=tuple(training for training, _ in own),
        validation=tuple(validation for _, validation in own),
        held_out=held_out,
        batch_size=workload.batch_size,
        local_steps=workload.local_steps,
        length_bucketing=workload.length_bucketing,
        seed=seed,
        pad_token_id=pad_token_id,
    )


def _partitioner(scenario: Scenario) -> Callable[[np.ndarray, int, np.random.Generator], list[IdArray]]:
    settings = scenario.workload.partition
    match settings.kind:
        case "length-dirichlet":
            return lambda lengths, num_clients, rng: partition.length_dirichlet(
                lengths,
                num_clients,
                rng,
                alpha=settings.alpha,
                num_classes=settings.num_classes,
                min_samples=settings.min_samples,
                bins=settings.bins,
            )
        case "iid":
            return lambda lengths, num_clients, rng: partition.iid(
                len(lengths), num_clients, rng, min_samples=settings.min_samples
            )
        case "quantity-skew":
            return lambda lengths, num_clients, rng: partition.quantity_skew(
                len(lengths), num_clients, rng, alpha=settings.alpha, min_samples=settings.min_samples
            )
