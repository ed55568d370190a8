"""DTFL's dynamic tier scheduler (Sajjadi Mohammadabadi et al., arXiv 2312.05642, Algorithm 1); a tier is a cut.

The paper's server knows from profiles how a client's time differs from tier to tier, and from observations how fast
the client really is: a moving average of the ratio of the two scales the profile.
"""

from collections.abc import Sequence

import numpy as np

from simulator.policies.observation import Decision, Floats, Memory, Observation
from simulator.sections.policy import DtflPolicy


def dtfl(observations: Sequence[Observation], memory: Memory, settings: DtflPolicy) -> Decision:
    """Return for each client the deepest cut with which it is no later than the straggler has to be.

    The straggler is the client whose best time over its cuts is the longest: T = max over clients of min over cuts.
    `memory` holds each client's moving average of its slowdown.
    """
    slowdowns = {**memory, **{o.client: _slowdown(o, memory, settings) for o in observations}}
    times_s = [_times_s(o, slowdowns[o.client]) for o in observations]
    straggler_s = max(float(times.min()) for times in times_s)
    cuts, reasons = {}, {}
    for o, times in zip(observations, times_s, strict=True):
        cuts[o.client] = o.min_cut + int(np.flatnonzero(times <= straggler_s)[-1])
        reasons[o.client] = "the straggler" if times.min() == straggler_s else "no later than the straggler"
    return Decision(cuts=cuts, reasons=reasons, memory=slowdowns)


def _slowdown(o: Observation, memory: Memory, settings: DtflPolicy) -> float:
    before: float = memory.get(o.client, 1.0 if o.busy_s is None else o.costs.slowdown)
    return before if o.busy_s is None else before + settings.smoothing * (o.costs.slowdown - before)


def _times_s(o: Observation, slowdown: float) -> Floats:
    """Return the client's round by cut; a slow client computes longer, which a server that works meanwhile may hide."""
    seconds = o.seconds()
    return seconds.path_s + (slowdown - 1) * seconds.client_s
