"""The section `protocol` of a scenario: each kind with its settings."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from simulator.sections.fields import STRICT, Count
from simulator.sections.own_kinds import Rule
from workloads.aggregators import BUFFERED, RELAY

OVERLAPPING = frozenset({"sfl-pipelined"})
"""Protocols in which a client computes, sends and receives at once."""

UNSPLIT = frozenset({"fed-lora"})
"""Kinds that leave the model in one piece."""

RELAYED = frozenset({"sl"})
"""Kinds in which clients work one after another and hand on one adapter."""

LABELS_STAY = UNSPLIT | {"u-shape"}
"""Kinds in which no label leaves the device."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SflV1Protocol:
    """Clients in parallel, each with its own copy of the server's adapters, averaged at the end of the round."""

    kind: Literal["sfl-v1"] = "sfl-v1"
    aggregator: Rule = "segment"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SlProtocol:
    """Clients one after another; one adapter is handed on and nothing is averaged."""

    kind: Literal["sl"] = "sl"

    @property
    def aggregator(self) -> str:
        """Return the rule by which the next global adapter is made."""
        return RELAY


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SflV2Protocol:
    """Clients in parallel; the server has one adapter, which it steps for each batch as batches come."""

    kind: Literal["sfl-v2"] = "sfl-v2"
    aggregator: Rule = "segment"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PipelinedProtocol:
    """As `sfl-v1`, each batch in at most `micro_batches` parts, so that computing and sending overlap."""

    kind: Literal["sfl-pipelined"] = "sfl-pipelined"
    aggregator: Rule = "segment"
    micro_batches: Count = 4


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LocalLossProtocol:
    """Clients in parallel, each learning from a head at its cut; the server learns from the activations meanwhile."""

    kind: Literal["local-loss"] = "local-loss"
    aggregator: Rule = "segment"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class UShapeProtocol:
    """Clients in parallel, with norm and head at their end as well, so that labels stay; the server has the middle."""

    kind: Literal["u-shape"] = "u-shape"
    aggregator: Rule = "segment"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FedLoraProtocol:
    """Clients in parallel, each with the whole model; adapters alone are sent. No policy decides on cuts."""

    kind: Literal["fed-lora"] = "fed-lora"
    aggregator: Rule = "segment"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FedBuffProtocol:
    """Clients in their own time; the server adds up what `buffer_size` of them have learned, weighed by its age.

    Attributes:
        kind: Names this protocol.
        buffer_size: How many results are aggregated at once; that is a round.
        max_staleness: A result that started more than so many rounds ago is discarded.
    """

    kind: Literal["fedbuff"] = "fedbuff"
    buffer_size: Count = 10
    max_staleness: Annotated[int, Field(ge=0)] = 20

    @property
    def aggregator(self) -> str:
        """Return the rule by which the next global adapter is made."""
        return BUFFERED


Protocol = Annotated[
    SlProtocol
    | SflV1Protocol
    | SflV2Protocol
    | PipelinedProtocol
    | LocalLossProtocol
    | UShapeProtocol
    | FedLoraProtocol
    | FedBuffProtocol,
    Field(discriminator="kind"),
]
