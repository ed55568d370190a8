"""The sections `selection` and `availability` of a scenario: who takes part in a round, and who can."""

from dataclasses import field
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic.dataclasses import dataclass

from simulator.sections.fields import STRICT, BelowOne, Count, Id, NonNegative, Positive, PositivePart, Text, agreeing
from simulator.sections.own_kinds import OWN_KIND, CodeName, Settings, kind_of

Hour = Annotated[float, Field(ge=0, lt=24)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AllSelection:
    """Every client takes part that can be reached.

    Attributes:
        kind: Names this selection.
        min_clients: A round waits until so many can be reached; so it is in every selection.
    """

    kind: Literal["all"] = "all"
    min_clients: Count = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RandomSelection:
    """Some of those who can be reached take part, each with the same chance: a tenth of the fleet if nothing is said.

    Attributes:
        kind: Names this selection.
        fraction: How many, as a part of the fleet.
        count: How many.
        min_clients: As above.
    """

    kind: Literal["random"] = "random"
    fraction: PositivePart | None = None
    count: Count | None = None
    min_clients: Count = 1

    @model_validator(mode="after")
    def _agree(self) -> Self:
        return agreeing(self, _one_of(self.fraction, self.count))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OverCommitSelection:
    """More clients are asked than are needed; the first that hand in count, the others are told to stop.

    Attributes:
        kind: Names this selection.
        count: How many are needed.
        factor: How many times as many are asked (Bonawitz et al., MLSys 2019).
        deadline_s: As in `deadline`; None waits for as long as it takes.
        min_clients: As above.
    """

    kind: Literal["over-commit"] = "over-commit"
    count: Count = 10
    factor: Annotated[float, Field(ge=1)] = 1.3
    deadline_s: Positive | None = None
    min_clients: Count = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DeadlineSelection:
    """Whoever has not handed in so many seconds after the round's start does not count.

    Attributes:
        kind: Names this selection.
        deadline_s: How long a round lasts at most, before the aggregation.
        fraction, count: How many take part, drawn as in `random`; everybody who can be reached if neither is given.
        min_clients: As above.
    """

    kind: Literal["deadline"] = "deadline"
    deadline_s: Positive = 600.0
    fraction: PositivePart | None = None
    count: Count | None = None
    min_clients: Count = 1

    @model_validator(mode="after")
    def _agree(self) -> Self:
        return agreeing(self, _one_of(self.fraction, self.count))


def _one_of(fraction: float | None, count: int | None) -> tuple[bool, str, str]:
    return (fraction is not None and count is not None, "count", "excludes 'fraction': keep one of the two")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OortSelection:
    """Clients take part that learn much and are not slow, and ever fewer that nobody knows yet (Lai et al., OSDI 2021).

    Attributes:
        kind: Names this selection.
        fraction, count: How many take part: a part of the fleet (a tenth if neither is given), or a number.
        exploration: Share of them that have never taken part, in the first round.
        least_exploration: That share never falls below this.
        exploration_decay: What is left of that share after each round.
        preferred_percentile: So many per cent of the known clients are not slow.
        penalty: Power of the preferred time over a slow client's own, with which it is valued less.
        min_clients: As above.
    """

    kind: Literal["oort"] = "oort"
    fraction: PositivePart | None = None
    count: Count | None = None
    exploration: PositivePart = 0.9
    least_exploration: PositivePart = 0.2
    exploration_decay: PositivePart = 0.98
    preferred_percentile: Annotated[float, Field(gt=0, le=100)] = 30.0
    penalty: NonNegative = 2.0
    min_clients: Count = 1

    @model_validator(mode="after")
    def _agree(self) -> Self:
        least = "least_exploration"
        too_high = (self.least_exploration > self.exploration, least, f"must not exceed {self.exploration:g}")
        return agreeing(self, _one_of(self.fraction, self.count), too_high)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OwnSelection:
    """The user's own function.

    Attributes:
        kind: Where it is.
        count: How many take part at most; None: the whole fleet may.
        settings: Handed to the function.
        min_clients: As above.
    """

    tag: ClassVar[str] = OWN_KIND

    kind: CodeName
    count: Count | None = None
    settings: Settings = field(default_factory=dict)
    min_clients: Count = 1


Selection = Annotated[
    Annotated[AllSelection, Tag("all")]
    | Annotated[RandomSelection, Tag("random")]
    | Annotated[OverCommitSelection, Tag("over-commit")]
    | Annotated[DeadlineSelection, Tag("deadline")]
    | Annotated[OortSelection, Tag("oort")]
    | Annotated[OwnSelection, Tag(OWN_KIND)],
    Discriminator(kind_of),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AlwaysOn:
    """Every client can always be reached.

    Attributes:
        kind: Names this availability.
        failure_frac: The share of a round's participants that fail at a random moment of it; so it is in every kind.
    """

    kind: Literal["always-on"] = "always-on"
    failure_frac: BelowOne = 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CatalogueAvailability:
    """Clients come and go as a profile of the catalogue says.

    Attributes:
        kind: Names this availability.
        id: Which profile; None means the one that suits the fleet's mixture. Listed clients are then always there.
        start_h: The clients' local hour when the run starts.
        failure_frac: As above; None means the share that the profile states.
    """

    kind: Literal["catalogue"] = "catalogue"
    id: Id | None = None
    start_h: Hour = 0.0
    failure_frac: BelowOne | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BernoulliAvailability:
    """Each client can be reached in a round with the same probability, independent of all else.

    Attributes:
        kind: Names this availability.
        available_frac: The probability.
        failure_frac: As above.
    """

    kind: Literal["bernoulli"] = "bernoulli"
    available_frac: PositivePart = 0.8
    failure_frac: BelowOne = 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TraceAvailability:
    """Clients come and go as a file says.

    Attributes:
        kind: Names this availability.
        file: A CSV file with the columns client, start_s and end_s, relative to the scenario.
        failure_frac: As above.
    """

    kind: Literal["trace"] = "trace"
    file: Text
    failure_frac: BelowOne = 0.0


Availability = Annotated[
    AlwaysOn | CatalogueAvailability | BernoulliAvailability | TraceAvailability,
    Field(discriminator="kind"),
]
