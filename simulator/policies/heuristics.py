"""Rules of thumb from the literature, each client on its own."""

from collections.abc import Sequence

import numpy as np

from simulator.policies.observation import Decision, Floats, Memory, Observation
from simulator.sections.policy import RateThresholdPolicy, WeightedCostPolicy


def rate_threshold(observations: Sequence[Observation], memory: Memory, settings: RateThresholdPolicy) -> Decision:
    """Return one end of its allowed cuts for a client with a slow uplink, the other end for the others.

    ASFL chooses a vehicle's cut by its rate, for CNNs, whose activations shrink from layer to layer: there a slow link
    wants a deep cut. In a decoder activations are equally large at every cut, and adapters, which are sent once a
    round, grow with it: hence `shallower` by default (ours).
    """
    cuts, reasons = {}, {}
    for o in observations:
        is_slow = o.uplink_bytes_per_s * 8 / 1e6 < settings.threshold_mbit_per_s
        is_shallow = is_slow == (settings.slow_links == "shallower")
        cuts[o.client] = o.min_cut if is_shallow else o.max_cut
        reasons[o.client] = "slow uplink" if is_slow else "fast uplink"
    return Decision(cuts=cuts, reasons=reasons, memory=memory)


def weighted_cost(observations: Sequence[Observation], memory: Memory, settings: WeightedCostPolicy) -> Decision:
    """Return the cut of the least a·client/max + b·transfer/max + e·server/max; the shallowest of equal ones."""
    cuts = {}
    for o in observations:
        seconds = o.seconds()
        total = (
            settings.client * _as_part(seconds.client_s)
            + settings.transfer * _as_part(seconds.transfer_s)
            + settings.server * _as_part(seconds.server_s)
        )
        cuts[o.client] = o.min_cut + int(np.argmin(total))
    return Decision(cuts=cuts, reasons=dict.fromkeys(cuts, "least weighted cost"), memory=memory)


def _as_part(values_s: Floats) -> Floats:
    """Return values as parts of the largest; all 0 where that is 0."""
    largest_s = values_s.max()
    return values_s / largest_s if largest_s > 0 else values_s
