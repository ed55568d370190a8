"""What moving a cut sends: base weights that a client never got, and moments of blocks that change sides.

Codecs keep nothing from step to step, so nothing of theirs moves. Rows of the adapters need no message of their own:
every round begins with the download of those that a client holds.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from simulator.protocols.rounds import ClientLog, CutMove
from workloads.counts import ADAPTER_BYTES, WEIGHT_BYTES, Part, adapter_parameters, base_parameters

MOVE_KINDS = ("upload_moments", "download_weights", "download_moments")
"""Kinds of the spans that exist because a cut has moved, or a client is new."""

_AFTER_WEIGHTS = frozenset({"download_moments", "download_adapter", "client_forward"})  # some of which may be empty
_MOMENTS = 2  # AdamW's means of the gradient and of its square


@dataclass(frozen=True, kw_only=True, slots=True)
class MoveCosts:
    """What goes over a client's link before its round can begin.

    Attributes:
        weights_bytes: base weights that come down, in the dtype of the base model.
        moments_up_bytes: moments of blocks that the client gives up, float32.
        moments_down_bytes: moments of blocks that it takes over.
    """

    weights_bytes: int
    moments_up_bytes: int
    moments_down_bytes: int


def move_costs(cut: int, move: CutMove, *, parts: Callable[[int], tuple[Part, Part]], dtype: str) -> MoveCosts:
    """Return what a client exchanges that begins a round with a cut.

    Args:
        cut: of the round.
        move: what is where by now.
        parts: for a cut, the client's part and the server's.
        dtype: of the base model.
    """
    weights_bytes = 0
    if move.stored_cut is not None and move.stored_cut < cut:
        stored = base_parameters(parts(move.stored_cut)[0]) if move.stored_cut else 0
        weights_bytes = (base_parameters(parts(cut)[0]) - stored) * WEIGHT_BYTES[dtype]
    moments_bytes = _moments_bytes(cut, move, parts)
    gives_up = bool(move.cuts) and move.cuts[-1] > cut
    return MoveCosts(
        weights_bytes=weights_bytes,
        moments_up_bytes=moments_bytes if gives_up else 0,
        moments_down_bytes=0 if gives_up else moments_bytes,
    )


def _moments_bytes(cut: int, move: CutMove, parts: Callable[[int], tuple[Part, Part]]) -> int:
    """Return the bytes of two moments for each row that was ever trained in the blocks that change sides."""
    if not move.cuts:
        return 0
    now, before = parts(cut)[0], parts(move.cuts[-1])[0]
    trained = [client.ranks + server.ranks for client, server in map(parts, move.cuts)]
    rows = [max(ranks) for ranks in zip(*trained, strict=True)]
    changed = slice(*sorted((len(now.blocks), len(before.blocks))))
    return _MOMENTS * ADAPTER_BYTES * adapter_parameters(dataclasses.replace(now, ranks=tuple(rows[changed])))


class Holdings:
    """Keeps count of what each client has: base weights, and moments with the cut at which it left them.

    Args:
        ships_weights: whether clients begin without the base model. They keep in storage what they ever got.
        ships_moments: whether moments are sent to where they are needed.
    """

    def __init__(self, *, ships_weights: bool, ships_moments: bool) -> None:
        self._ships_weights, self._ships_moments = ships_weights, ships_moments
        self._stored: dict[int, int] = {}
        self._cuts: dict[int, tuple[int, ...]] = {}

    def move(self, client: int, cut: int) -> CutMove | None:
        """Return what is where before a round with this cut; None if nothing has to be sent."""
        stored = self._stored.get(client, 0)
        cuts = self._cuts.get(client, ())
        needs_weights = self._ships_weights and stored < cut
        if not needs_weights and (not cuts or cuts[-1] == cut):
            return None
        return CutMove(stored_cut=stored if needs_weights else None, cuts=cuts)

    def settle(self, c: ClientLog) -> None:
        """Note what a client has after a round of its own. Moments of one that did not count are those from before."""
        client, cut = c.plan.client, c.plan.cut
        if self._ships_weights and not _AFTER_WEIGHTS.isdisjoint(c.seconds):  # so they had arrived
            self._stored[client] = max(self._stored.get(client, 0), cut)
        if self._ships_moments and c.status == "finished":
            earlier = self._cuts.get(client, ())
            self._cuts[client] = (*(other for other in earlier if other != cut), cut)
