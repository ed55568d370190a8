"""What a synchronous protocol is asked for and what it answers: plans in, logs out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["finished", "dropped", "late", "surplus", "stale", "unfinished"]
"""How a client's round ended: it handed in; it went away or failed; it missed the deadline; enough others were first;
what it started from was too old when it handed in; the run was over before.

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
        cut_reason: why, in a few words for tables.
        steps: one padded batch for each local step.
        validation: batches of the client's own validation part that its policy wants to see measured; mostly empty.
        stacked: what aggregations have left to the base model since it last took part: rows for each block, or none.
        move: what has to be sent because its cut has moved; None: nothing.
        turn: which of its own it is, from 1, where clients do not all begin at once; it then decides on the samples.
        leaves_s: when it goes, in simulated seconds of the run; its round is broken off then.
        fails_frac: after which part of the time that the round would take it alone it fails; None: it does not.
    """

    client: int
    cut: int
    steps: tuple[PaddedBatch, ...]
    cut_reason: str = ""
    validation: tuple[PaddedBatch, ...] = ()
    stacked: tuple[int, ...] = ()
    move: CutMove | None = None
    turn: int | None = None
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
        start_s, end_s: from the start of its own work to its end; waiting for others comes after, and in `sl` before.
        seconds, num_bytes: totals by span kind.
        num_steps: local steps that it has completed.
        status: whether it counts.
        energy_j: what its device took in the whole round, waiting for others included; None where that is not known.
        staleness: where clients do not all begin at once, how many aggregations there were between the start of its
            round and the one that its result was for.
    """

    plan: ClientPlan
    start_s: float
    end_s: float
    seconds: Mapping[str, float]
    num_bytes: Mapping[str, int]
    num_steps: int
    status: Status
    energy_j: float | None = None
    staleness: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundLog:
    """One settled round: the clock has decided who finished when; the mathematics may follow.

    Attributes:
        round: its number.
        start_s, end_s: when it was.
        clients: what each client's came to.
        version: where clients do not all begin at once, how many aggregations there were before this one.
        versions_in_use: of the adapters that clients are at work on when it ends.
        sent_bytes: what was sent during the round, by kind, where that is not what `clients` have sent.
        energy_j: what devices have taken during the round, where `sent_bytes` is given; None where it is not known.
        order: (client, step from 1) in the order in which the server took its steps, where it has one adapter for all.
    """

    round: int
    start_s: float
    end_s: float
    clients: tuple[ClientLog, ...]
    order: tuple[tuple[int, int], ...] = ()
    version: int = 0
    versions_in_use: tuple[int, ...] = ()
    sent_bytes: Mapping[str, int] | None = None
    energy_j: float | None = None

    @property
    def finished(self) -> tuple[ClientLog, ...]:
        """Return those whose work counts."""
        return tuple(c for c in self.clients if c.status == "finished")
