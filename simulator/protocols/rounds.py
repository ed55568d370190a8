"""What a synchronous protocol is asked for and what it answers: plans in, logs out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["finished", "dropped", "late", "surplus"]
"""How a client's round ended: it handed in; it went away or failed; it missed the deadline; enough others were first.

Only what `finished` clients did counts: the work of all others is charged and discarded.
"""


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
class CutMove:
    """What is where when a client begins a round with a cut that asks for something else.

    Attributes:
        stored_cut: the client has the base weights of so many blocks (0: not even embeddings); None: of all it needs.
        cuts: at which it has trained, each once, the last one last; () where no moments have to move.
    """

    stored_cut: int | None = None
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientPlan:
    """What one client does in one round.

    Attributes:
        client: its number.
        cut: decoder blocks on the client.
        steps: one padded batch for each local step.
        validation: batches of the client's own validation part that its policy wants to see measured; mostly empty.
        stacked: what aggregations have left to the base model since it last took part: rows for each block, or none.
        move: what has to be sent because its cut has moved; None: nothing.
        leaves_s: when it goes, in simulated seconds of the run; its round is broken off then.
        fails_frac: after which part of the time that the round would take it alone it fails; None: it does not.
    """

    client: int
    cut: int
    steps: tuple[PaddedBatch, ...]
    validation: tuple[PaddedBatch, ...] = ()
    stacked: tuple[int, ...] = ()
    move: CutMove | None = None
    leaves_s: float = math.inf
    fails_frac: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """When a round is over, unless everybody has handed in or dropped out before.

    Attributes:
        num_needed: as soon as so many have handed in; None: all.
        deadline_s: so long after its start.
    """

    num_needed: int | None = None
    deadline_s: float = math.inf


FOR_EVERYBODY = Terms()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientLog:
    """What one client's round came to.

    Attributes:
        plan: what it was asked to do.
        start_s, end_s: from the start of its round to the end of its own work; waiting for others comes after.
        seconds, num_bytes: totals by span kind.
        num_steps: local steps that it has completed.
        status: whether it counts.
        energy_j: what its device took in the whole round, waiting for others included; None where that is not known.
    """

    plan: ClientPlan
    start_s: float
    end_s: float
    seconds: Mapping[str, float]
    num_bytes: Mapping[str, int]
    num_steps: int
    status: Status
    energy_j: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundLog:
    """One settled round: the clock has decided who finished when; the mathematics may follow."""

    round: int
    start_s: float
    end_s: float
    clients: tuple[ClientLog, ...]

    @property
    def finished(self) -> tuple[ClientLog, ...]:
        """Return those whose work counts."""
        return tuple(c for c in self.clients if c.status == "finished")
