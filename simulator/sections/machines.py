"""The sections of a scenario: what may stand in its file, with every default, and how keys of one section must agree.

Each class is at once the strict boundary of a file and the frozen value that the simulator works with. A further kind
of a section is one class more in its union; a further value of a key is one literal more.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from simulator.sections.fields import (
    MAX_SEED,
    STRICT,
    Count,
    Discipline,
    Id,
    NonNegative,
    Part,
    Positive,
    Seed,
    agreeing,
    matching,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SeedSection:
    """Where randomness starts: `fleet` draws devices, `data` splits and orders samples, `training` draws weights.

    In a file or a constructor one whole number stands for all three.
    """

    fleet: Seed = 0
    data: Seed = 0
    training: Seed = 0


def _seeds(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEED:
        return SeedSection(fleet=value, data=value, training=value)
    if isinstance(value, Mapping | SeedSection):
        return value
    raise PydanticCustomError(
        "seed", "expected a whole number from 0 to 2**63 - 1, or a mapping of fleet, data and training"
    )


Seeds = Annotated[SeedSection, BeforeValidator(_seeds)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClientGroup:
    """`count` clients of one device and network; `via` is a second network on their way, such as Wi-Fi at home."""

    device: Id
    network: Id
    via: Id | None = None
    count: Count = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FleetSection:
    """Who takes part: a list of `clients`, or `count` clients drawn from a `mixture` of the catalogue."""

    clients: Annotated[tuple[ClientGroup, ...], Field(min_length=1)] | None = None
    mixture: Id | None = None
    count: Count | None = None

    @property
    def num_clients(self) -> int:
        """Return how many clients there are."""
        return sum(group.count for group in self.clients or ()) + (self.count or 0)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        listed, drawn = self.clients is not None, self.mixture is not None
        return agreeing(
            self,
            (listed and drawn, "mixture", "excludes 'clients': keep one of the two"),
            (not listed and not drawn, "clients", "a fleet needs 'clients', or 'mixture' with 'count'"),
            (drawn and not listed and self.count is None, "count", "a mixture needs the number of clients"),
            (
                listed and not drawn and self.count is not None,
                "count",
                "belongs to a mixture; in a list each group of clients has its own count",
            ),
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Outage:
    """When nobody reaches the server. What it computes goes on; what is being sent waits until it is back."""

    start_s: NonNegative
    end_s: Positive

    @model_validator(mode="after")
    def _agree(self) -> Self:
        return agreeing(self, (self.end_s <= self.start_s, "end_s", f"must be later than start_s ({self.start_s:g})"))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ServerSection:
    """The server: `slots` accelerators of one device type on one network.

    Attributes:
        device: What each accelerator is.
        network: Its connection.
        slots: How many accelerators.
        discipline: Who is served next. `fifo` and `priority` serve one client's step at a time on each accelerator, in
            order of arrival or the largest remaining lag first; `processor-sharing` serves all at once, more slowly.
        outages: When nobody reaches it.
    """

    device: Id = "nvidia-a100-80gb-sxm"
    network: Id = "lan-10gbe"
    slots: Count = 1
    discipline: Discipline = "fifo"
    outages: tuple[Outage, ...] = ()

    def steps_at_once(self, num_clients: int) -> int:
        """Return how many steps of so many clients are in the memory of one of its accelerators at a time."""
        return math.ceil(num_clients / self.slots) if self.discipline == "processor-sharing" else 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TargetsSection:
    """Values of the held-out evaluation; the run says when each was first reached."""

    perplexity: tuple[Annotated[float, Field(gt=1)], ...] = ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EvaluationSection:
    """The experimenter's own measurement of the global model, which costs no simulated time.

    Attributes:
        every: Rounds between measurements; the last round is always measured.
        held_out_frac: The part of the samples that no client gets.
        max_samples: At most so many of them are kept.
        targets: Values to reach.
    """

    every: Count = 1
    held_out_frac: Part = 0.1
    max_samples: Count = 256
    targets: TargetsSection = TargetsSection()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExecutionSection:
    """How this machine does the work. Never part of a scenario's identity.

    Attributes:
        trainer: Whether anything is learned, or only the clock runs.
        device: Where tensors live; `auto` takes a GPU where there is one.
        executor: How the clients of a round are trained: one after another (`sequential`) or together (`fused`); `auto`
            is `fused` on a GPU and where steps are small. Results differ in their last digits.
        memo: Whether work is taken from the user's store and left there for later runs.
        spans: How much is written down of where the time went: every span (`steps`), sums by client, round and kind
            (`rounds`), or nothing (`none`). The times themselves are the same.
    """

    trainer: Literal["torch", "cost-only"] = "torch"
    device: Annotated[str, matching(r"auto|cpu|cuda(:[0-9]{1,3})?", "auto, cpu, cuda, or one GPU such as cuda:0")] = (
        "auto"
    )
    executor: Literal["auto", "sequential", "fused"] = "auto"
    memo: bool = True
    spans: Literal["steps", "rounds", "none"] = "steps"
