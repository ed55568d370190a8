"""What aggregations leave to the base model, and which clients have it by now.

Some rules (`flora`, `fedex`) put a part of the result into the frozen weights. A client that takes part again has to
take over everything that was left since it did so last.
"""

from simulator.protocols.rounds import RoundLog


class BaseDeltas:
    """Keeps count of rows, block by block."""

    def __init__(self) -> None:
        self._left: tuple[int, ...] = ()
        self._taken_over: dict[int, tuple[int, ...]] = {}

    def missing(self, client: int) -> tuple[int, ...]:
        """Return for each block the rows that a client has yet to take over; () for none at all."""
        before = self._taken_over.get(client, (0,) * len(self._left))
        rows = tuple(now - then for now, then in zip(self._left, before, strict=True))
        return rows if any(rows) else ()

    def settle(self, log: RoundLog, left: tuple[int, ...]) -> None:
        """Note who took over what there was at a round's start, and what its aggregation has left in turn."""
        if self._left:
            # Whoever has computed for the round had downloaded and merged everything before.
            self._taken_over |= {c.plan.client: self._left for c in log.clients if "client_forward" in c.seconds}
        if left:
            before = self._left or (0,) * len(left)
            self._left = tuple(then + rows for then, rows in zip(before, left, strict=True))
