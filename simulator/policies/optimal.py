"""The cuts of the least predicted round, for what a cut trades: a client's own path against the server's work."""

from collections.abc import Sequence

import numpy as np

from simulator.policies.observation import Decision, Floats, Memory, Observation
from simulator.sections.policy import OptimalPolicy


def optimal(observations: Sequence[Observation], memory: Memory, settings: OptimalPolicy) -> Decision:  # noqa: ARG001
    """Return the cuts that minimise max(longest path, the server's work / slots); ours, after Wei & Chen.

    A path is a client's round without waiting and a work its seconds of the server, both as predicted. No round can be
    shorter than either bound; one with queues may be longer than both. Where clients work one after another a round is
    the sum of their paths, and each takes its shortest.
    """
    seconds = [o.seconds() for o in observations]
    if observations[0].is_relayed:
        places = [int(np.argmin(s.path_s)) for s in seconds]
    else:
        places = least_round([s.path_s for s in seconds], [s.server_s for s in seconds], observations[0].slots)
    reasons = {}
    for o, place, s in zip(observations, places, seconds, strict=True):
        reasons[o.client] = "shortest path" if place == int(np.argmin(s.path_s)) else "spares the server"
    return Decision(
        cuts={o.client: o.min_cut + place for o, place in zip(observations, places, strict=True)},
        reasons=reasons,
        memory=memory,
    )


def least_round(paths_s: Sequence[Floats], works_s: Sequence[Floats], slots: int) -> list[int]:
    """Return one place in each client's options such that max(longest path, sum of works / slots) is least.

    Some optimum gives every client its least work among the options whose path is at most D, for D the longest path
    that it uses. So it is enough to try every path as D. With all clients' options in order of their paths, what an
    option takes off the least work so far is taken off the sum: one sort and one running sum, O(n log n) for n options.

    Args:
        paths_s: for each client its path with each option.
        works_s: likewise the server's work.
        slots: among which the work is divided.
    """
    limits_s = np.concatenate(paths_s)
    owners = np.repeat(np.arange(len(paths_s)), [len(path_s) for path_s in paths_s])
    order = np.lexsort((limits_s, owners))  # each client's options by rising path
    gains_s = np.zeros(len(limits_s))
    start = 0
    for path_s, work_s in zip(paths_s, works_s, strict=True):
        mine = slice(start, start + len(path_s))
        least_s = np.minimum.accumulate(work_s[order[mine] - start])
        gains_s[order[mine]] = np.diff(least_s, prepend=least_s[0])
        start = mine.stop
    # The first option of every client has to be within D; its work is where the sum starts.
    shortest_s = max(float(path_s.min()) for path_s in paths_s)
    first_s = sum(float(work_s[np.argmin(path_s)]) for path_s, work_s in zip(paths_s, works_s, strict=True))
    by_path = np.argsort(limits_s, kind="stable")
    rising_s = limits_s[by_path]
    totals_s = first_s + np.cumsum(gains_s[by_path])
    bounds_s = np.maximum(np.maximum(rising_s, shortest_s), totals_s / slots)
    # Of equal paths the last one has them all in its sum.
    last = np.append(rising_s[1:] > rising_s[:-1], True) & (rising_s >= shortest_s)
    limit_s = rising_s[last][np.argmin(bounds_s[last])]
    return [
        int(np.argmin(np.where(path_s <= limit_s, work_s, np.inf)))
        for path_s, work_s in zip(paths_s, works_s, strict=True)
    ]
