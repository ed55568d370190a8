"""The mathematics of asynchronous rounds: each update has its own start, and weighs less the older that is."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

from simulator.learning.tasks import TaskLearning
from simulator.protocols.rounds import ClientLog, RoundLog
from workloads.grouping import grouped
from workloads.tasks import AggregateTask, TrainResult


def staleness_weight(staleness: int) -> float:
    """Return the weight of an update between whose start and use there were `staleness` aggregations (FedBuff, 5.1)."""
    return 1.0 / math.sqrt(1.0 + staleness)


class BufferedLearning(TaskLearning):
    """Has a trainer learn what clients hand in at any time, and adds it to the latest global adapter."""

    @cached_property
    def _versions(self) -> dict[int, str]:
        """Return the global adapters that somebody may still be at work on, by the aggregations behind them."""
        return {0: self._adapter}

    def train(self, log: RoundLog) -> Mapping[int, TrainResult]:
        """Train each turn from where it started and aggregate; of a client's turns of a round the losses are joined."""
        results: list[tuple[ClientLog, TrainResult]] = []
        for wave in _waves(log.finished):
            results += zip(wave, self._train(wave, log.version), strict=True)
        if results:
            self._adapter = self._trainer.aggregate(
                AggregateTask(
                    recipe=self._recipe,
                    rule=self._aggregator,
                    base=self._adapter,
                    updates=tuple(result.key for _, result in results),
                    weights=tuple(staleness_weight(_staleness(c)) for c, _ in results),
                    starts=tuple(self._versions[log.version - _staleness(c)] for c, _ in results),
                )
            )
            self._versions[log.version + 1] = self._adapter
        latest = max(self._versions)
        self._versions = {v: key for v, key in self._versions.items() if v == latest or v in log.versions_in_use}
        self._release(list(self._versions.values()))
        joined: dict[int, TrainResult] = {}
        for c, result in results:
            before = joined.get(c.plan.client)
            joined[c.plan.client] = TrainResult(
                key=result.key,
                losses=(*(before.losses if before else ()), *result.losses),
                num_tokens=(before.num_tokens if before else 0) + result.num_tokens,
            )
        return joined

    def _train(self, turns: Sequence[ClientLog], version: int) -> list[TrainResult]:
        """Train one turn of each of some clients."""
        tasks = []
        for c in turns:
            assert c.plan.turn is not None
            tasks.append(
                self._train_task(
                    c.plan.client, c.plan.cut, c.plan.turn, adapter=self._versions[version - _staleness(c)]
                )
            )
        if self._max_group_tokens is not None:
            tasks = grouped(tasks, self._max_group_tokens)
        results = self._trainer.train(tasks)
        for c, task, result in zip(turns, tasks, results, strict=True):
            self._settle(c.plan, task, result)
        return results


def _staleness(c: ClientLog) -> int:
    assert c.staleness is not None  # of a turn it is known
    return c.staleness


def _waves(turns: Sequence[ClientLog]) -> list[list[ClientLog]]:
    """Return turns so that each client has one at most in a wave: a turn goes on with the moments of the one before.

    Waves do not keep the order of arrival between clients, which does not matter: a sum has none but for rounding, and
    this order is as much a function of the log.
    """
    waves: list[list[ClientLog]] = []
    num_before: dict[int, int] = {}
    for c in turns:
        number = num_before.get(c.plan.client, 0)
        num_before[c.plan.client] = number + 1
        if number == len(waves):
            waves.append([])
        waves[number].append(c)
    return waves
