"""What aggregations leave to the base model, and which clients have it by now.

Some rules (`flora`, `fedex`) put a part of the result into the frozen weights. A client that takes part again has to
take over everything that was left to its blocks since it did so last, or since it held them last.
"""

from collections.abc import Callable

from simulator.protocols.rounds import RoundLog


class BaseDeltas:
    """Keeps count of rows, block by block of the model that is charged for.

    Args:
        num_held: cut -> blocks of that model on a client with this cut.
    """

    def __init__(self, num_held: Callable[[int], int]) -> None:
        self._num_held = num_held
        self._left: tuple[int, ...] = ()
        self._taken_over: dict[int, tuple[int, ...]] = {}

    def missing(self, client: int, cut: int) -> tuple[int, ...]:
        """Return for each block the rows that a client has yet to take over; () for none in those that it holds."""
        before = self._taken_over.get(client, (0,) * len(self._left))
        rows = tuple(now - then for now, then in zip(self._left, before, strict=True))
        return rows if any(rows[: self._num_held(cut)]) else ()

    def settle(self, log: RoundLog, left: tuple[int, ...]) -> None:
        """Note who took over what there was at a round's start, and what its aggregation has left in turn."""
        if self._left:
            for c in log.clients:
                # Whoever has computed for the round had downloaded and merged everything before.
                if "client_forward" in c.seconds:
                    self._take_over(c.plan.client, self._num_held(c.plan.cut))
        if left:
            before = self._left or (0,) * len(left)
            self._left = tuple(then + rows for then, rows in zip(before, left, strict=True))

    def _take_over(self, client: int, num_blocks: int) -> None:
        before = self._taken_over.get(client, (0,) * len(self._left))
        self._taken_over[client] = self._left[:num_blocks] + before[num_blocks:]
