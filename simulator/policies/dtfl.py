"""DTFL's dynamic tier scheduler (Sajjadi Mohammadabadi et al., arXiv 2312.05642, Algorithm 1); a tier is a cut.

The paper's server knows from profiles how a client's time differs from tier to tier, and from observations how fast
the client really is: a moving average of the ratio of the two scales the profile.
"""

from collections.abc import Sequence

import numpy as np

from simulator.policies.observation import Decision, Memory, Observation
from simulator.sections.policy import DtflPolicy


def dtfl(observations: Sequence[Observation], memory: Memory, settings: DtflPolicy) -> Decision:
    """Return for each client the deepest cut with which it is no later than the straggler has to be.

    The straggler is the client whose best time over its cuts is the longest: T = max over clients of min over cuts.
    A slow client computes longer, which a server that works meanwhile may hide: times are put together as the protocol
    does. `memory` holds the moving average of the slowdown of each client that has been observed.
    """
    slowdowns = {**memory, **{o.client: _averaged(o, memory, settings) for o in observations if o.busy_s is not None}}
    times_s = [o.seconds().slowed(slowdowns.get(o.client, 1.0)).path_s for o in observations]
    straggler_s = max(float(times.min()) for times in times_s)
    cuts, reasons = {}, {}
    for o, times in zip(observations, times_s, strict=True):
        cuts[o.client] = o.min_cut + int(np.flatnonzero(times <= straggler_s)[-1])
        reasons[o.client] = "the straggler" if times.min() == straggler_s else "no later than the straggler"
    return Decision(cuts=cuts, reasons=reasons, memory=slowdowns)


def _averaged(o: Observation, memory: Memory, settings: DtflPolicy) -> float:
    before: float = memory.get(o.client, o.costs.slowdown)
    return before + settings.smoothing * (o.costs.slowdown - before)
