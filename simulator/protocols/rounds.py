"""What a synchronous protocol is asked for and what it answers: plans in, logs out."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PaddedBatch:
    """The size of one batch: on the wire and in the kernels it is samples times the longest sample's tokens.

    Attributes:
        num_samples: samples B.
        length_tokens: tokens T of the longest, to which the others are padded.
        num_real_tokens: tokens without the padding.
    """

    num_samples: int
    length_tokens: int
    num_real_tokens: int

    @property
    def num_padded_tokens(self) -> int:
        """Return B times T."""
        return self.num_samples * self.length_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientPlan:
    """What one client does in one round.

    Attributes:
        client: its number.
        cut: decoder blocks on the client.
        steps: one padded batch for each local step.
        validation: batches of the client's own validation part that its policy wants to see measured; mostly empty.
    """

    client: int
    cut: int
    steps: tuple[PaddedBatch, ...]
    validation: tuple[PaddedBatch, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientLog:
    """What one client's round came to.

    Attributes:
        plan: what it was asked to do.
        start_s, end_s: from the start of its round to its last own span; waiting for others comes after.
        seconds, num_bytes: totals by span kind.
        status: `finished`.
    """

    plan: ClientPlan
    start_s: float
    end_s: float
    seconds: Mapping[str, float]
    num_bytes: Mapping[str, int]
    status: str = "finished"


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundLog:
    """One settled round: the clock has decided who finished when; the mathematics may follow."""

    round: int
    start_s: float
    end_s: float
    clients: tuple[ClientLog, ...]
