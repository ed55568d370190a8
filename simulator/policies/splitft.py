"""SplitFT's adaptive cut (arXiv 2604.26388, "adaptive cut layer selection").

The paper gives the idea: clients above the mean performance take more layers, those below fewer, weighed against their
computing resources by gamma. The rule that makes it a decision is ours. Resources pull a client towards the cohort's
mean step time, by as many blocks as would close the gap at the client's own seconds per block; performance pushes by
its z-score. Less than one whole block is a dead band, which is what makes the cuts settle.
"""

import math
from collections.abc import Sequence

from simulator.policies.observation import Decision, Memory, Observation
from simulator.sections.policy import SplitFTPolicy

MIN_DELTA_FRAC = 0.01  # a further block costs at least this fraction of its client time, so that a gap stays finite
MIN_STD_FRAC = 0.02  # performances closer together than this fraction of their mean count as equal


def splitft(observations: Sequence[Observation], memory: Memory, settings: SplitFTPolicy) -> Decision:
    """Return the next cuts; `memory` holds each client's moving average of its step time at its present cut, in s."""
    average_s = {**memory, **{o.client: _averaged(o, memory, settings) for o in observations if o.busy_s is not None}}
    known = [o for o in observations if o.busy_s is not None]
    mean_s = sum(average_s[o.client] for o in known) / len(known) if known else 0.0
    scores = _z_scores([o.performance for o in known])
    cuts, reasons = {}, {}
    for o in observations:
        if o.cut is None or o.busy_s is None:
            cuts[o.client] = o.clip(settings.initial_cut if o.cut is None else o.cut)
            reasons[o.client] = "initial"
    for o, score in zip(known, scores, strict=True):
        assert o.cut is not None  # what has been observed has been somewhere
        delta_s = _seconds_of_one_more_block(o)
        gap = _bounded((mean_s - average_s[o.client]) / delta_s, settings.max_move)
        raw = settings.gamma_res * gap + settings.gamma_perf * score
        cut = o.clip(o.cut + math.trunc(_bounded(raw, settings.max_move)))
        cuts[o.client], reasons[o.client] = cut, _reason(cut - o.cut, settings.gamma_res * gap, raw)
        average_s[o.client] += (cut - o.cut) * delta_s  # what it would have been at the new cut
    return Decision(cuts=cuts, reasons=reasons, memory=average_s)


def _averaged(o: Observation, memory: Memory, settings: SplitFTPolicy) -> float:
    assert o.busy_s is not None
    before: float = memory.get(o.client, o.busy_s)
    return before + settings.smoothing * (o.busy_s - before)


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
