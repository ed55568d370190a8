"""Who is asked to take part in a round, by the scenario's selection, and what it remembers of earlier rounds."""

from collections.abc import Callable, Mapping

import numpy as np

from simulator.draws import generator
from simulator.own_functions import checked_selection
from simulator.participation.oort import History, Ids, oort
from simulator.participation.selection import Cohort, at_random, deadline, everybody, largest_cohort, over_commit
from simulator.protocols.rounds import FOR_EVERYBODY, RoundLog
from simulator.sections.participation import OortSelection, OwnSelection
from simulator.setting import Setting
from workloads.tasks import TrainResult

SELECTIONS: Mapping[str, Callable[..., Cohort]] = {
    "all": everybody,
    "random": at_random,
    "over-commit": over_commit,
    "deadline": deadline,
}


class Choosing:
    """Chooses the participants of rounds.

    Args:
        setting: what the run works with.
    """

    def __init__(self, setting: Setting) -> None:
        self._section, self._num_clients = setting.scenario.selection, len(setting.fleet)
        self._seed = setting.scenario.seed.fleet
        own = setting.own_code.get("selection.kind")
        self._own = None if own is None else checked_selection(own)
        remembers = isinstance(self._section, OortSelection | OwnSelection)
        self._history = History.empty(setting.data.num_samples) if remembers else None

    def cohort(self, number: int, reachable: Ids) -> Cohort:
        """Return who takes part in a round, of those who can be reached."""
        section, rng = self._section, generator(self._seed, "selection", round=number)
        if self._history is None:
            return SELECTIONS[section.kind](reachable, self._num_clients, rng, section)
        if isinstance(section, OortSelection):
            wanted = largest_cohort(section, self._num_clients)
            chosen = oort(reachable, wanted, rng, section, self._history, now=number)
            return Cohort(clients=chosen, terms=FOR_EVERYBODY)
        assert self._own is not None  # the user's own is the only other one that remembers
        return self._own(reachable, rng, section, self._history)

    def remember(self, log: RoundLog, trained: Mapping[int, TrainResult]) -> None:
        """Note what those did who finished a round."""
        if self._history is None:
            return
        for c in log.finished:
            client, result = c.plan.client, trained.get(c.plan.client)
            self._history.last_round[client] = log.round
            self._history.duration_s[client] = c.end_s - c.start_s
            if result is not None:
                self._history.loss[client] = np.sqrt(np.mean(np.square(result.losses)))
