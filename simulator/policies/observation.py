"""What a cut policy sees and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What the server knows of one client when cuts are decided.

    Attributes:
        client: its number.
        device: id of its hardware.
        cut: decoder blocks that it holds now; None before its first round.
        min_cut, max_cut: the cuts allowed to it, inclusive: the scenario's bounds, the model and its memory.
        busy_s: seconds a step that its own path took in the last round, waiting for others excluded, scaled to the
            cohort's mean padded tokens; None before its first round.
        client_block_s: seconds a step that one block took on the client (forward, backward, optimizer), scaled
            likewise.
        server_block_s: seconds a step that one block took on the server, scaled likewise.
        performance: validation token accuracy of its adapter, higher is better; None where nothing is learned.
    """

    client: int
    device: str
    cut: int | None
    min_cut: int
    max_cut: int
    busy_s: float | None
    client_block_s: float | None
    server_block_s: float | None
    performance: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The cuts of the next round.

    Attributes:
        cuts: client -> decoder blocks it shall hold.
        reasons: client -> why, in a few words for tables.
        memory: what the policy wants to be given at its next call (client -> number); policies keep nothing elsewhere.
    """

    cuts: Mapping[int, int]
    reasons: Mapping[int, str]
    memory: Mapping[int, float]
