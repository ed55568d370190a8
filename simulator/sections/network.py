"""The sections `network` and `moves` of a scenario: how links are shared and vary, and what moving a cut sends."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from devices.units import LEAST_MBIT_PER_S
from simulator.sections.fields import STRICT, Count, Text, agreeing

Duplex = Literal["full", "half"]
Rate = Annotated[float, Field(ge=LEAST_MBIT_PER_S)]
Cv = Annotated[float, Field(ge=0, le=10)]  # at 10, half of the factors are below a tenth
Interval = Annotated[float, Field(ge=1e-3)]  # each costs an event while a message is on its way


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DuplexSection:
    """Whether both directions of a connection have their own capacity (`full`) or share one (`half`)."""

    clients: Duplex = "full"
    server: Duplex = "full"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CellSection:
    """`count` cells of `clients` each, such as radio cells or offices behind one line.

    Clients fill cells in the order of their numbers; those behind the last cell are in none.

    Attributes:
        clients: In each of these cells.
        count: How many cells; None: as many as the remaining clients take, the last one perhaps partly filled.
        downlink_mbit_per_s: Towards the clients, for all of them together.
        uplink_mbit_per_s: From the clients.
        duplex: As above.
    """

    clients: Count
    count: Count | None = None
    downlink_mbit_per_s: Rate
    uplink_mbit_per_s: Rate
    duplex: Duplex = "full"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class VariationSection:
    """How a client's rates vary around what it has drawn, as coefficients of variation (deviation over mean).

    Attributes:
        between_sessions_cv: From one round that a client takes part in to another.
        within_session_cv: From one interval to the next; `catalogue`: as each client's network states.
        interval_s: For so long a rate holds.
    """

    between_sessions_cv: Cv = 0.0
    within_session_cv: Cv | Literal["catalogue"] = 0.0
    interval_s: Interval = 10.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BandwidthTraceSection:
    """Rates over time from a file.

    Attributes:
        file: A CSV file with the columns client, time_s, downlink_mbit_per_s and uplink_mbit_per_s, relative to the
            scenario.
        period_s: After so many seconds the file's times begin again; None: the last rates hold for good.
    """

    file: Text
    period_s: Interval | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NetworkSection:
    """How the connections of clients and server are shared, and how they vary over time."""

    duplex: DuplexSection = DuplexSection()
    cells: tuple[CellSection, ...] = ()
    variation: VariationSection = VariationSection()
    trace: BandwidthTraceSection | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        message = "only the last entry may leave it out: there it means as many as the remaining clients take"
        return agreeing(
            self,
            (any(cell.count is None for cell in self.cells[:-1]), "cells", f"every entry needs a 'count'; {message}"),
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MovesSection:
    """What it costs to move a cut, besides holding other blocks from then on.

    Attributes:
        weights: `resident`: every client has the whole base model in its storage. `shipped`: the server sends the
            blocks (and at first the embeddings) that a client has to hold and never got.
        moments: `uncharged`: the optimizer's moments of a block that changes sides are there at once. `shipped`: they
            go over the client's link, up or down.
    """

    weights: Literal["resident", "shipped"] = "resident"
    moments: Literal["uncharged", "shipped"] = "shipped"
