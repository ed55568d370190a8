"""The mathematics of protocols whose server has one adapter for all clients: the clock decides who steps it when."""

from collections import Counter
from collections.abc import Mapping
from itertools import compress

from simulator.learning.tasks import TaskLearning
from simulator.protocols.rounds import RoundLog
from simulator.sections.protocol import RELAYED
from workloads.aggregators import RELAY
from workloads.interleaved_tasks import interleave, whole_ranks
from workloads.tasks import TrainResult


class InterleavedLearning(TaskLearning):
    """Has a trainer learn the steps of a round in the order in which the server took them.

    Steps that the server completed for a client that did not finish stay; that client's own part and moments do not.
    """

    _server: str | None = None  # the task whose state holds the server's moments

    def train(self, log: RoundLog) -> Mapping[int, TrainResult]:
        """Train all whom the server has served, in its order, and make the next global adapter."""
        num_served = Counter(client for client, _ in log.order)
        members = [c for c in log.clients if c.plan.client in num_served]
        if not members:
            return {}  # everything stays as it is
        finished = [c.status == "finished" for c in members]
        place = {c.plan.client: number for number, c in enumerate(members)}
        tasks = interleave(
            [
                self._train_task(c.plan.client, c.plan.cut, log.round, num_steps=num_served[c.plan.client])
                for c in members
            ],
            hands_in=finished,
            order=tuple((place[client], step - 1) for client, step in log.order),
            relayed=self._recipe.learning_rule in RELAYED,
            server=self._server,
        )
        results = self._trainer.train(tasks)
        counting = [c.plan.client for c in members if c.status == "finished"]
        if counting and self._aggregator != RELAY:
            updates, rows = list(compress(results, finished)), list(compress(whole_ranks(tasks), finished))
            self._aggregate(log.round, self._aggregator, counting, updates, rows)
        else:  # of nobody's client part there is a mean; the server's part is what it is
            last = place[log.order[-1][0]]
            self._aggregate(log.round, RELAY, [members[last].plan.client], [results[last]])
        for c, task, result in zip(members, tasks, results, strict=True):
            if c.status == "finished":
                self._settle(c.plan, task, result)
        if self._recipe.optimizer.state == "kept":
            self._server = results[place[log.order[-1][0]]].key
        self._release([] if self._server is None else [self._server])
        return {c.plan.client: result for c, result in zip(members, results, strict=True) if c.status == "finished"}
