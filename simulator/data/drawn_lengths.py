"""Samples of which there is only the length: for the clock alone, and for fleets of any size."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.data.client_data import IdArray, padded, step_ids
from simulator.draws import generator
from simulator.protocols.rounds import PaddedBatch
from simulator.scenario import Scenario
from simulator.sections.dataset import FixedLengths, Lengths, LognormalLengths
from workloads import lengths as distributions
from workloads import partition
from workloads.batches import evaluation_sample_ids


@dataclass(frozen=True, kw_only=True)
class DrawnLengths:
    """Samples that are only as long as a distribution says, drawn for a client when it is asked for.

    Nothing is kept: a client's lengths follow from the seed and its number, so a fleet of any size costs nothing until
    somebody takes part.

    Attributes:
        draw: the distribution.
        num_clients: clients of the fleet.
        num_training, num_validation: samples of each client.
        max_length_tokens: longer samples are cut.
        longest_tokens: of the longest sample that there can be.
        batch_size, local_steps, length_bucketing, seed: from the scenario.
    """

    draw: distributions.Draw
    num_clients: int
    num_training: int
    num_validation: int
    max_length_tokens: int
    longest_tokens: int
    batch_size: int
    local_steps: int
    length_bucketing: bool
    seed: int

    @property
    def num_samples(self) -> IdArray:
        """Return how many training samples each client has."""
        return np.broadcast_to(np.int64(self.num_training), (self.num_clients,))

    @property
    def summary(self) -> str:
        """Return how many samples there are, in words."""
        return f"drawn, {self.num_training + self.num_validation:,} samples for each client"

    @property
    def content(self) -> Mapping[str, object]:
        """Return nothing: all that decides the lengths stands in the scenario."""
        return {}

    def padded_steps(self, client: int, round: int) -> tuple[PaddedBatch, ...]:  # noqa: A002
        """Return the padded size of each local step of a round."""
        lengths, places = self._lengths(client), np.arange(self.num_training)
        known = lengths if self.length_bucketing else None
        steps = step_ids(
            places, self.batch_size, self.local_steps, self.seed, client=client, round=round, lengths=known
        )
        return tuple(padded(lengths[ids]) for ids in steps)

    def padded_validation(self, client: int) -> tuple[PaddedBatch, ...]:
        """Return the padded size of each batch of a client's validation part."""
        lengths, places = self._lengths(client), np.arange(self.num_training, self.num_training + self.num_validation)
        return tuple(padded(lengths[ids]) for ids in evaluation_sample_ids(lengths, places, self.batch_size))

    def _lengths(self, client: int) -> IdArray:
        """Return the lengths of a client's samples; those for validation come last."""
        drawn = self.draw(generator(self.seed, "lengths", client=client), self.num_training + self.num_validation)
        return distributions.bounded(drawn, self.max_length_tokens)


def drawn(scenario: Scenario, section: Lengths, num_clients: int) -> DrawnLengths:
    """Return samples of which there is only the length."""
    workload, total = scenario.workload, section.samples_per_client
    match section:
        case LognormalLengths():
            draw, longest = distributions.lognormal(section.median_tokens, section.sigma), workload.max_length_tokens
        case FixedLengths():
            draw, longest = distributions.fixed(section.tokens), section.tokens
        case _:
            draw, longest = distributions.uniform(section.min_tokens, section.max_tokens), section.max_tokens
    num_validation = partition.validation_size(total, workload.validation.frac, workload.validation.max_samples)
    return DrawnLengths(
        draw=draw,
        num_clients=num_clients,
        num_training=total - num_validation,
        num_validation=num_validation,
        max_length_tokens=workload.max_length_tokens,
        longest_tokens=int(distributions.bounded(np.array(longest), workload.max_length_tokens)),
        batch_size=workload.batch_size,
        local_steps=workload.local_steps,
        length_bucketing=workload.length_bucketing,
        seed=scenario.seed.data,
    )
