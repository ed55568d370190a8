"""When cuts are decided, by which policy, and on which observations."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from simulator.costs.fit import held
from simulator.draws import uniforms
from simulator.own_functions import checked_policy
from simulator.policies.bandit import bandit
from simulator.policies.dtfl import dtfl
from simulator.policies.fixed import fixed, memory_greedy, per_device, random, unsplit
from simulator.policies.foresight import Foresight
from simulator.policies.heuristics import rate_threshold, weighted_cost
from simulator.policies.observation import CutCosts, Decision, Memory, Observation
from simulator.policies.observe import Ahead, observations, unseen
from simulator.policies.optimal import optimal
from simulator.policies.splitft import splitft
from simulator.protocols.rounds import ClientLog, RoundLog
from simulator.setting import Setting
from workloads.tasks import EvalResult

POLICIES: Mapping[str, Callable[..., Decision]] = {
    "fixed": fixed,
    "per-device": per_device,
    "random": random,
    "splitft": splitft,
    "optimal": optimal,
    "dtfl": dtfl,
    "memory-greedy": memory_greedy,
    "rate-threshold": rate_threshold,
    "weighted-cost": weighted_cost,
    "bandit": bandit,
}

JOINT = frozenset({"optimal", "dtfl"})
"""They weigh the participants of a round against each other, so they are asked before it, for all of them at once.

The user's own policies are asked likewise. All others are asked after a round for those who finished it, and before it
for those who are new.
"""

FORESEEING = frozenset({"optimal"})
"""They go by predictions alone, so that nothing has to be kept for them of what clients did."""


class Cuts:
    """The cuts of all clients that have taken part, and why they have them.

    Attributes:
        now: client -> decoder blocks.
        reasons: client -> why, in a few words.

    Args:
        setting: what the run works with.
        foresight: predicts rounds.
        next_of: told a client and the number of the next round, returns by which number its next batches are found.
    """

    def __init__(self, setting: Setting, foresight: Foresight, next_of: Callable[[int, int], int]) -> None:
        self.now: dict[int, int] = {}
        self.reasons: dict[int, str] = {}
        self._setting, self._foresight, self._next_of = setting, foresight, next_of
        own = setting.own_code.get("policy.kind")
        kind = setting.scenario.policy.kind
        self._policy = POLICIES[kind] if own is None else checked_policy(own)
        if not setting.is_split:
            self._policy = unsplit
        self._is_joint = own is not None or kind in JOINT
        self._reads_news = kind not in FORESEEING
        self._memory: Memory = {}
        self._news: dict[int, tuple[Observation, ClientLog]] = {}

    def before_round(self, number: int, clients: Sequence[int]) -> None:
        """Give those clients a cut who are new; all of them, where the policy weighs them against each other."""
        every = self._setting.decide_every
        asked = clients
        if not self._is_joint or (number - 1) % every:
            asked = [client for client in clients if client not in self.now]
        draws = self._draws(asked, number)
        self._decide([self._latest(client, number, draw) for client, draw in zip(asked, draws, strict=True)])

    def after_round(self, log: RoundLog, validated: Mapping[int, EvalResult]) -> None:
        """Look at what those did who finished; decide on their cuts, where that is due and not for later.

        Where clients take turns in their own time it is due by a client's own count, as its measuring itself is. A turn
        that had begun before the last decision says nothing of what that has brought; the next one does.
        """
        if not self._setting.is_split:
            return
        number, latest = log.round + 1, {c.plan.client: c for c in log.finished}
        ahead = {
            client: Ahead(draw=draw, costs=self._costs(client, number, latest[client]))
            for client, draw in zip(latest, self._draws(list(latest), number), strict=True)
        }
        seen = observations(self._setting, log, validated, ahead)
        if self._is_joint and self._reads_news:
            self._news |= {o.client: (o, latest[o.client]) for o in seen}
        elif not self._is_joint:
            every = self._setting.decide_every
            due = {c.plan.client for c in log.finished if (c.plan.turn or log.round) % every == 0}
            self._decide([o for o in seen if o.client in due and o.cut == self.now[o.client]])

    def _latest(self, client: int, number: int, draw: float) -> Observation:
        """Return what is known of a client; what has been seen of it is told once."""
        if client in self._news:
            news, last = self._news.pop(client)
            return dataclasses.replace(news, draw=draw, costs=self._costs(client, number, last))
        ahead = Ahead(draw=draw, costs=self._costs(client, number))
        return unseen(self._setting, client, self.now.get(client), ahead)

    def _costs(self, client: int, number: int, last: ClientLog | None = None) -> CutCosts:
        return self._foresight.costs(client, self._next_of(client, number), last)

    def _decide(self, seen: Sequence[Observation]) -> None:
        """Give those clients a cut that are observed; the others keep theirs."""
        if seen:
            decision = held(self._policy(seen, self._memory, self._setting.scenario.policy), self._setting.max_cut)
            self._memory = decision.memory
            self.now |= decision.cuts
            self.reasons |= decision.reasons

    def _draws(self, clients: Sequence[int], number: int) -> list[float]:
        seed, numbers = self._setting.scenario.seed.fleet, np.array(clients, dtype=np.int64)
        drawn: list[float] = uniforms(seed, "cut", clients=numbers, round=number)[:, 0].tolist()
        return drawn
