"""The kinds of the section `policy` of a scenario: how many blocks each client holds."""

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Discriminator, Tag, model_validator
from pydantic.dataclasses import dataclass

from simulator.sections.fields import STRICT, Count, Cut, Id, NonNegative, Positive, PositivePart, agreeing
from simulator.sections.own_kinds import OWN_KIND, CodeName, Settings, kind_of


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FixedPolicy:
    """Every client keeps the same cut."""

    kind: Literal["fixed"] = "fixed"
    cut: Cut = 2


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PerDevicePolicy:
    """Each client keeps the cut that `cuts` names for its device, or else `default`."""

    kind: Literal["per-device"] = "per-device"
    cuts: Mapping[Id, Cut] = field(default_factory=dict)
    default: Cut = 2


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MovingPolicy:
    """What all policies have in common that move cuts.

    Attributes:
        kind: Names the policy.
        min_cut: No client holds fewer blocks.
        max_cut: No client holds more; None leaves that to the model and the client's memory.
        every: Rounds between decisions.
    """

    kind: str
    min_cut: Cut = 1
    max_cut: Cut | None = None
    every: Count = 1

    @model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        high = math.inf if self.max_cut is None else self.max_cut
        return agreeing(self, (self.min_cut > high, "min_cut", f"must not exceed max_cut ({high})"))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SplitFTPolicy(MovingPolicy):
    """SplitFT's adaptive cut (arXiv 2604.26388).

    Attributes:
        kind, min_cut, max_cut, every: As above.
        initial_cut: Every client's cut in the first round.
        gamma_perf: Weight of how well a client learns.
        gamma_res: Weight of how fast a client is.
        max_move: Blocks that a cut moves at most in one decision.
        smoothing: Weight of the latest observation in the moving average of a client's step time; 1 forgets the past.
    """

    kind: Literal["splitft"] = "splitft"
    initial_cut: Cut = 2
    gamma_perf: NonNegative = 0.5
    gamma_res: NonNegative = 1.0
    max_move: Count = 2
    smoothing: PositivePart = 0.5

    @model_validator(mode="after")
    def _agree(self) -> Self:
        low, high = self.min_cut, math.inf if self.max_cut is None else self.max_cut
        return agreeing(
            self,
            (self.initial_cut < low <= high, "initial_cut", f"must not be below min_cut ({low})"),
            (low <= high < self.initial_cut, "initial_cut", f"must not exceed max_cut ({high})"),
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RandomPolicy(MovingPolicy):
    """Each client draws a cut, anew for every decision: a control arm."""

    kind: Literal["random"] = "random"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MemoryGreedyPolicy(MovingPolicy):
    """Each client holds as many blocks as fit into its memory."""

    kind: Literal["memory-greedy"] = "memory-greedy"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimalPolicy(MovingPolicy):
    """The cuts of the least predicted round: the longest path, or the server's work, whichever is longer."""

    kind: Literal["optimal"] = "optimal"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DtflPolicy(MovingPolicy):
    """DTFL's scheduler (arXiv 2312.05642): the deepest cut with which a client does not become the straggler.

    Attributes:
        kind, min_cut, max_cut, every: As above.
        smoothing: Weight of the latest observation in the moving average of a client's speed.
    """

    kind: Literal["dtfl"] = "dtfl"
    smoothing: PositivePart = 0.5


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RateThresholdPolicy(MovingPolicy):
    """Clients with a slow uplink get the one end of the allowed cuts, the others the other end (after ASFL).

    Attributes:
        kind, min_cut, max_cut, every: As above.
        threshold_mbit_per_s: A slower uplink is slow.
        slow_links: Which end slow ones get.
    """

    kind: Literal["rate-threshold"] = "rate-threshold"
    threshold_mbit_per_s: Positive = 20.0
    slow_links: Literal["shallower", "deeper"] = "shallower"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class WeightedCostPolicy(MovingPolicy):
    """The cut of the least weighted sum of predicted times, each as a part of its largest over the allowed cuts.

    Attributes:
        kind, min_cut, max_cut, every: As above.
        client, transfer, server: Weights of the time that the client computes, sends and keeps the server busy.
    """

    kind: Literal["weighted-cost"] = "weighted-cost"
    client: NonNegative = 1.0
    transfer: NonNegative = 1.0
    server: NonNegative = 1.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BanditPolicy(MovingPolicy):
    """Each client tries every allowed cut and then those that were fast, by upper confidence bounds (UCB1).

    Attributes:
        kind, min_cut, max_cut, every: As above.
        exploration: Weight of how little a cut has been tried.
    """

    kind: Literal["bandit"] = "bandit"
    exploration: NonNegative = 0.5


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OwnPolicy(MovingPolicy):
    """The user's own function.

    Attributes:
        kind: Where it is.
        min_cut, max_cut, every: As above.
        reads_performance: Whether clients measure themselves before decisions, and are charged for it.
        settings: Handed to the function.
    """

    tag: ClassVar[str] = OWN_KIND

    kind: CodeName
    reads_performance: bool = False
    settings: Settings = field(default_factory=dict)


Policy = Annotated[
    Annotated[SplitFTPolicy, Tag("splitft")]
    | Annotated[FixedPolicy, Tag("fixed")]
    | Annotated[PerDevicePolicy, Tag("per-device")]
    | Annotated[RandomPolicy, Tag("random")]
    | Annotated[MemoryGreedyPolicy, Tag("memory-greedy")]
    | Annotated[OptimalPolicy, Tag("optimal")]
    | Annotated[DtflPolicy, Tag("dtfl")]
    | Annotated[RateThresholdPolicy, Tag("rate-threshold")]
    | Annotated[WeightedCostPolicy, Tag("weighted-cost")]
    | Annotated[BanditPolicy, Tag("bandit")]
    | Annotated[OwnPolicy, Tag(OWN_KIND)],
    Discriminator(kind_of),
]
