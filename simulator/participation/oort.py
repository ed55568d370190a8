"""Oort: take those who learn much and are not slow (Lai et al., OSDI 2021, arXiv 2010.06081, Algorithm 1).

What is ours: utilities are divided by the largest, so that the bonus for not having been seen for long counts whatever
the unit of the loss is; the unknown are drawn with equal chances, not by their speed; there is no pacer, the preferred
duration being a percentile of those known. Draws are numbers of clients, not of places in a queue, so that nobody's
depend on who else can be reached.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulator.sections.participation import OortSelection

Ids: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

CUTOFF = 0.95  # of the utility of the last one needed: whoever has as much may be drawn
STALENESS = 0.1  # in the bonus sqrt(0.1 ln(round) / last round)


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """What the server has seen of each client of the fleet: arrays by client.

    Attributes:
        num_samples: training samples.
        last_round: in which it last finished; 0: never.
        duration_s: of its own work in that round.
        loss: root of the mean square of its losses there, in nats a token; nan where nothing is learned.
    """

    num_samples: Ids
    last_round: Ids
    duration_s: Floats
    loss: Floats

    @classmethod
    def empty(cls, num_samples: Ids) -> "History":
        """Return that of a fleet of which nothing has been seen."""
        nothing = np.full(len(num_samples), math.nan)
        return cls(
            num_samples=num_samples,
            last_round=np.zeros(len(num_samples), dtype=np.int64),
            duration_s=nothing,
            loss=nothing.copy(),
        )


def oort(
    reachable: Ids, wanted: int, rng: np.random.Generator, section: OortSelection, history: History, *, now: int
) -> Ids:
    """Return `wanted` of those who can be reached in round `now`, or all if they are fewer; rising numbers."""
    if len(reachable) <= wanted:
        return reachable
    uniform = rng.random(len(history.last_round))
    is_known = history.last_round[reachable] > 0
    known, unknown = reachable[is_known], reachable[~is_known]
    share = max(section.least_exploration, section.exploration * section.exploration_decay ** (now - 1))
    num_unknown = min(len(unknown), max(round(share * wanted), wanted - len(known)))
    explored = unknown[np.argsort(uniform[unknown], kind="stable")[:num_unknown]]
    exploited = _drawn(known, wanted - num_unknown, utilities(known, now, section, history), uniform)
    return np.sort(np.concatenate([explored, exploited]))


def utilities(clients: Ids, now: int, section: OortSelection, history: History) -> Floats:
    """Return the utility of known clients: |B| sqrt(mean loss²), and a power of preferred over own time for slow ones.

    Where nothing is learned, or a loss is not a number, durations alone decide: all are worth as much otherwise.
    """
    if not len(clients):
        return np.zeros(0)
    worth = np.ones(len(clients))
    learning = history.num_samples[clients] * history.loss[clients]
    if np.isfinite(learning).all() and learning.max() > 0:
        worth = learning / learning.max() + np.sqrt(STALENESS * math.log(now) / history.last_round[clients])
    duration_s = history.duration_s[clients]
    preferred_s = np.percentile(duration_s, section.preferred_percentile)
    slow = duration_s > preferred_s
    factor = np.where(slow, (preferred_s / duration_s) ** section.penalty, 1.0)
    utility: Floats = worth * factor
    return utility


def _drawn(clients: Ids, wanted: int, utility: Floats, uniform: Floats) -> Ids:
    """Return so many clients of those near the highest utilities, drawn with chances in proportion to utility.

    Without replacement, by the largest keys u^(1/utility) (Efraimidis & Spirakis 2006).
    """
    if wanted >= len(clients):
        return clients
    if wanted == 0:
        return clients[:0]
    last_needed = np.partition(utility, len(clients) - wanted)[len(clients) - wanted]
    near = np.flatnonzero(utility >= CUTOFF * last_needed)
    keys = np.log(np.maximum(uniform[clients[near]], np.finfo(float).tiny)) / np.maximum(utility[near], 1e-12)
    return clients[near[np.argsort(-keys, kind="stable")[:wanted]]]
