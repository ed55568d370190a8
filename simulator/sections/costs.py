"""The `costs` section of a scenario: what the clock charges beyond the plain cost model. By default, nothing."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from simulator.sections.fields import STRICT, Id, NonNegative, PositivePart, agreeing

LnSigma = Annotated[float, Field(ge=0, le=2)]  # at 2, one step in twenty takes 27 times the median step or more


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StackSection:
    """Which training software computes, by its name in `devices/catalogue/training_stacks.yaml`.

    Attributes:
        clients: On the clients; None: as fast as large matrix products are.
        server: On the server likewise.
    """

    clients: Id | None = None
    server: Id | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NoJitter:
    """Equal steps take equal times."""

    kind: Literal["none"] = "none"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CatalogueJitter:
    """As the mixture states, or for listed clients as the catalogue assumes; the server does not vary."""

    kind: Literal["catalogue"] = "catalogue"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LognormalJitter:
    """Every computation takes its time times a log-normal number of mean 1.

    Attributes:
        kind: Names this jitter.
        client_ln_sigma: Standard deviation of that number's logarithm, on clients.
        server_ln_sigma: On the server likewise.
    """

    kind: Literal["lognormal"] = "lognormal"
    client_ln_sigma: LnSigma = 0.15
    server_ln_sigma: LnSigma = 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NoThrottle:
    """Devices stay as fast as they are when cool."""

    kind: Literal["none"] = "none"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CatalogueThrottle:
    """As the mixture states; one that states nothing, and listed clients, do not slow down."""

    kind: Literal["catalogue"] = "catalogue"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HeatThrottle:
    """Clients slow down with heat.

    Attributes:
        kind: Names this throttle.
        after_s: Computing time until a device is hot; it cools while it does not compute.
        mean_frac: Mean over the clients of the share of its speed that a hot device keeps.
        low_frac: The least share of any.
        high_frac: The largest.
    """

    kind: Literal["heat"] = "heat"
    after_s: NonNegative = 300.0
    mean_frac: PositivePart = 0.8
    low_frac: PositivePart = 0.65
    high_frac: PositivePart = 0.99

    @model_validator(mode="after")
    def _agree(self) -> Self:
        low, mean, high = self.low_frac, self.mean_frac, self.high_frac
        return agreeing(
            self,
            (low > high, "low_frac", f"must not exceed high_frac ({high:g})"),
            (low <= high and not low <= mean <= high, "mean_frac", f"must be from {low:g} to {high:g}"),
        )


def _kind(value: object) -> object:
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, Mapping) or hasattr(value, "kind"):
        return value
    raise PydanticCustomError("kind", "expected a word or a mapping with its kind")


Jitter = Annotated[
    Annotated[NoJitter | CatalogueJitter | LognormalJitter, Field(discriminator="kind")],
    BeforeValidator(_kind),
]
Throttling = Annotated[
    Annotated[NoThrottle | CatalogueThrottle | HeatThrottle, Field(discriminator="kind")],
    BeforeValidator(_kind),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CostsSection:
    """What is charged beyond the plain cost model.

    Attributes:
        training_stack: The software that computes, which reaches less than matrix products do.
        attention: `whole`: the kernel computes all pairs of tokens; `flash`: it skips those that the causal mask hides
            and computes the attention weights again in the backward pass (Dao 2023, arXiv 2307.08691).
        jitter: How computing times vary from step to step. In a file a word alone is its `kind`, as for the next.
        throttle: How clients slow down with heat.
        oom: What becomes of clients whose memory cannot hold the blocks that the policy's settings force on them:
            `error` refuses the scenario, `exclude` leaves such clients out, `lower-cut` gives them fewer blocks.
        energy: `stated` charges what device files state, `assumed` fills in what they do not.
    """

    training_stack: StackSection = StackSection()
    attention: Literal["whole", "flash"] = "whole"
    jitter: Jitter = NoJitter()
    throttle: Throttling = NoThrottle()
    oom: Literal["error", "exclude", "lower-cut"] = "error"
    energy: Literal["stated", "assumed"] = "stated"
