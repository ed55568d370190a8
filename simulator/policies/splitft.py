"""SplitFT's adaptive cut (arXiv 2604.26388, "adaptive cut layer selection").

The paper gives the idea: clients above the mean performance take more layers, those below fewer, weighed against their
computing resources by gamma. The rule that makes it a decision is ours. Resources pull a client towards the cohort's
mean step time, by as many blocks as would close the gap at the client's own seconds per block; performance pushes by
its z-score. Less than one whole block is a dead band, which is what makes the cuts settle.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from simulator.policies.observation import Decision, Memory, Observation
from simulator.sections.policy import SplitFTPolicy

MIN_DELTA_FRAC = 0.01  # a further block costs at least this fraction of its client time, so that a gap stays finite
MIN_STD_FRAC = 0.02  # performances closer together than this fraction of their mean count as equal


def splitft(observations: Sequence[Observation], memory: Memory, settings: SplitFTPolicy) -> Decision:
    """Return the next cuts; `memory` holds what is `Known` of each client that has been observed.

    Means are over all of them, so that it does not matter who else has been observed this time.
    """
    known = {**memory, **{o.client: _known(o, memory, settings) for o in observations if o.busy_s is not None}}
    mean_s = sum(client.average_s for client in known.values()) / len(known) if known else 0.0
    scores = dict(zip(known, _z_scores([client.performance for client in known.values()]), strict=True))
    cuts, reasons = {}, {}
    for o in observations:
        if o.cut is None or o.busy_s is None:
            cuts[o.client] = o.clip(settings.initial_cut if o.cut is None else o.cut)
            reasons[o.client] = "initial"
            continue
        average_s, delta_s = known[o.client].average_s, _seconds_of_one_more_block(o)
        gap = _bounded((mean_s - average_s) / delta_s, settings.max_move)
        raw = settings.gamma_res * gap + settings.gamma_perf * scores[o.client]
        cut = o.clip(o.cut + math.trunc(_bounded(raw, settings.max_move)))
        cuts[o.client], reasons[o.client] = cut, _reason(cut - o.cut, settings.gamma_res * gap, raw)
        moved_s = average_s + (cut - o.cut) * delta_s  # what it would have been at the new cut
        known[o.client] = known[o.client]._replace(average_s=moved_s)
    return Decision(cuts=cuts, reasons=reasons, memory=known)


class Known(NamedTuple):
    """What is remembered of a client.

    Attributes:
        average_s: moving average of its step time, at its present cut, in s.
        performance: the latest; None where it is not known.
    """

    average_s: float
    performance: float | None


def _known(o: Observation, memory: Memory, settings: SplitFTPolicy) -> Known:
    assert o.busy_s is not None
    before: Known = memory.get(o.client, Known(o.busy_s, None))
    average_s = before.average_s + settings.smoothing * (o.busy_s - before.average_s)
    return Known(average_s, before.performance if o.performance is None else o.performance)


def _seconds_of_one_more_block(o: Observation) -> float:
    """Return what moving one block from the server to the client adds to its own path."""
    assert o.client_block_s is not None
    assert o.server_block_s is not None
    return max(o.client_block_s - o.server_block_s, MIN_DELTA_FRAC * o.client_block_s)


def _z_scores(performances: Sequence[float | None]) -> list[float]:
    values = [p for p in performances if p is not None]
    if len(values) < len(performances) or not values:
        return [0.0] * len(performances)
    mean = sum(values) / len(values)
    std = math.sqrt(sum((p - mean) ** 2 for p in values) / len(values))
    floor = MIN_STD_FRAC * abs(mean)
    return [(p - mean) / max(std, floor) if max(std, floor) > 0 else 0.0 for p in values]


def _bounded(value: float, limit: float) -> float:
    return max(-limit, min(limit, value))


def _reason(move: int, resources: float, raw: float) -> str:
    if move == 0:
        return "settled" if abs(raw) < 1 else "at its bound"
    by_resources = abs(resources) >= abs(raw - resources)
    if move > 0:
        return "faster than the mean" if by_resources else "better than the mean"
    return "slower than the mean" if by_resources else "poorer than the mean"
