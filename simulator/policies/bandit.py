"""Learning a cut by trial: one bandit for each client, whose arms are its cuts (UCB1; Auer et al. 2002).

A reward is 1 - time / longest time of this client so far, where time is an observed step, waiting for the server
included: what other clients do to the server is a part of what a cut is worth.
"""

import math
from collections.abc import Sequence

from simulator.policies.observation import Decision, Memory, Observation
from simulator.sections.policy import BanditPolicy

Trial = tuple[int, float]
"""How often a cut was tried, and the mean seconds of a step with it."""


def bandit(observations: Sequence[Observation], memory: Memory, settings: BanditPolicy) -> Decision:
    """Return for each client a cut that it has not tried, or else that of the highest upper confidence bound.

    `memory` holds a `Trial` for each (client, cut). Untried cuts come first, from the shallowest on.
    """
    kept, cuts, reasons = dict(memory), {}, {}
    for o in observations:
        if o.cut is not None and o.step_s is not None:
            num, mean_s = kept.get((o.client, o.cut), (0, 0.0))
            kept[o.client, o.cut] = (num + 1, mean_s + (o.step_s - mean_s) / (num + 1))
        trials = {cut: kept[o.client, cut] for cut in o.allowed if (o.client, cut) in kept}
        untried = [cut for cut in o.allowed if cut not in trials]
        cuts[o.client] = untried[0] if untried else _best(trials, settings.exploration)
        reasons[o.client] = "not tried yet" if untried else "highest confidence bound"
    return Decision(cuts=cuts, reasons=reasons, memory=kept)


def _best(trials: dict[int, Trial], exploration: float) -> int:
    longest_s = max(mean_s for _, mean_s in trials.values()) or 1.0
    total = sum(num for num, _ in trials.values())

    def bound(cut: int) -> float:
        num, mean_s = trials[cut]
        return 1 - mean_s / longest_s + exploration * math.sqrt(2 * math.log(total) / num)

    return max(trials, key=bound)  # the shallowest of equal ones: they are in order
