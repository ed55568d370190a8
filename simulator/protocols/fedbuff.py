"""Asynchronous split learning with a buffer (FedBuff: Nguyen et al. 2022, arXiv 2106.06639).

There is no barrier. Each client takes its turns, as a round of SplitFed V1, one after another, from the newest global
adapter at its start, with a copy of the server's part that is made then. What it hands in is kept in a buffer as the
difference to where it started; when `buffer_size` are there, the server adds their mean, each weighted by
1/sqrt(1 + staleness), to the global adapter. That is what a round is here. What is staler than `max_staleness` rounds
is discarded.

While the server aggregates, those who hand in wait for the result; else a client goes on at once. Who goes or fails, or
exceeds the deadline of the selection, starts again in the next round at the earliest. A round in which nobody is at
work any more ends with what has been handed in. What is under way at the end of a run is not waited for.
"""

import math
from collections import Counter
from collections.abc import Callable, Container, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial

import simpy

from simulator.clock.alone import lags_s, path_s
from simulator.clock.world import Participant, World
from simulator.protocols.barrier import Moment
from simulator.protocols.rounds import FOR_EVERYBODY, ClientLog, ClientPlan, RoundLog, Terms
from simulator.protocols.sfl_v1 import client_round

Again = Callable[[ClientPlan], ClientPlan | None]
"""What a client does next that has handed in; None: it rests until the next round."""


@dataclass(kw_only=True, eq=False)
class Turn:
    """One client's work on one adapter.

    Attributes:
        me, plan: who, and what it does.
        version: how many aggregations the adapter had behind it.
        start_s: when it began.
        is_stale: whether it was handed in too late to count.
        counted: bytes by kind that rounds before have been charged for.
        counted_j: energy that they have been charged for.
    """

    me: Participant
    plan: ClientPlan
    version: int
    start_s: float
    is_stale: bool = False
    counted: dict[str, int] = field(default_factory=dict)
    counted_j: float = 0.0

    @property
    def counts(self) -> bool:
        """Return whether it is aggregated."""
        return self.me.status == "finished" and not self.is_stale

    def log(self, version: int, *, is_over: bool = True) -> ClientLog:
        """Return what it came to, for an aggregation that has `version` others behind it.

        Args:
            version: of the aggregation.
            is_over: whether there is one; else the run has ended before.
        """
        status = "stale" if self.is_stale and self.me.status == "finished" else self.me.status
        return ClientLog(
            plan=self.plan,
            start_s=self.start_s,
            end_s=min(self.me.ended_s, self.me.world.env.now),
            seconds=self.me.seconds,
            num_bytes=self.me.num_bytes,
            num_steps=self.me.num_steps,
            status=status if is_over and status is not None else "unfinished",
            staleness=version - self.version,
            energy_j=self.me.energy_j,
        )


class FedBuff:
    """The server's buffer and the clients at work, from round to round.

    Args:
        buffer_size: how many differences are aggregated at once.
        max_staleness: of a difference that counts, in aggregations since its start.
        again: asked whenever a client may start again at once.
        on_end: told of each turn when it ends, whichever way, before its client starts again.
    """

    def __init__(
        self,
        *,
        buffer_size: int,
        max_staleness: int,
        again: Again,
        on_end: Callable[[ClientLog], None] = lambda _log: None,
    ) -> None:
        self._buffer_size, self._max_staleness = buffer_size, max_staleness
        self._again, self._on_end = again, on_end
        self._version, self._terms = 0, FOR_EVERYBODY
        self._at_work: dict[int, Turn] = {}
        self._ended: list[Turn] = []  # for the round that is running or, while the server aggregates, the next one
        self._resting: list[Turn] = []
        self._closed: simpy.Event | None = None  # fires with the turns of the running round; None between rounds

    @property
    def busy(self) -> Container[int]:
        """Return the clients at work."""
        return self._at_work.keys()

    def unfinished(self) -> list[ClientLog]:
        """Return what has come by now of turns that no aggregation has been for."""
        return [turn.log(self._version, is_over=False) for turn in [*self._ended, *self._at_work.values()]]

    def run_round(
        self, world: World, number: int, plans: Sequence[ClientPlan], terms: Terms = FOR_EVERYBODY
    ) -> RoundLog:
        """Let the clients of `plans` begin, and time pass until the next aggregation has ended; return the log.

        Args:
            world: where.
            number: of the round.
            plans: of clients that are not at work.
            terms: how long turns may take that begin in this round; how many are needed is for the buffer to say.
        """
        start_s, version = world.env.now, self._version
        self._terms = terms
        turns = world.run(self._round(world, number, plans))
        return RoundLog(
            round=number,
            start_s=start_s,
            end_s=world.env.now,
            clients=tuple(turn.log(version) for turn in turns),
            version=version,
            versions_in_use=tuple(sorted({turn.version for turn in self._at_work.values()})),
            sent_bytes=self._sent_bytes(turns),
            energy_j=self._energy_j(turns),
        )

    def _round(
        self, world: World, number: int, plans: Sequence[ClientPlan]
    ) -> Generator[simpy.Event, object, list[Turn]]:
        self._release()
        for turn in self._at_work.values():
            turn.me.round = number
        self._closed = closed = world.env.event()
        for plan in plans:
            self._begin(world, number, plan)
        if self._is_full() or not self._at_work:
            self._close()
        yield closed
        turns: list[Turn] = closed.value
        if counting := [turn for turn in turns if turn.counts]:
            seconds = world.costs.aggregate_s([(turn.plan.client, turn.plan.cut) for turn in counting])
            yield from world.aggregate(number, seconds, counting[-1].me.last_span)
        self._release()
        return turns

    def _begin(self, world: World, number: int, plan: ClientPlan) -> None:
        lags, now_s = lags_s(world, number, plan, client_round), world.env.now
        me = Participant(world=world, client=plan.client, round=number, lags_s=lags)
        turn = self._at_work[plan.client] = Turn(me=me, plan=plan, version=self._version, start_s=now_s)
        me.begin(client_round(me, plan)).callbacks.append(lambda _: self._end(turn))
        leaves_s = plan.leaves_s
        if plan.fails_frac is not None:
            leaves_s = min(leaves_s, now_s + plan.fails_frac * path_s(world, number, plan, client_round))
        if leaves_s < math.inf:
            Moment(world.env, leaves_s, partial(me.stop, "dropped"))
        if self._terms.deadline_s < math.inf:
            Moment(world.env, now_s + self._terms.deadline_s, partial(me.stop, "late"))

    def _end(self, turn: Turn) -> None:
        """Take a turn's result into the buffer, if it counts, and let its client go on, if it may."""
        me = turn.me
        del self._at_work[me.client]
        turn.is_stale = self._version - turn.version > self._max_staleness
        me.wait_until_now()  # no time has passed: its device is as warm as it is
        self._on_end(turn.log(self._version))
        self._ended.append(turn)
        if self._is_full():
            self._close()
        goes_on = me.status == "finished" and self._closed is not None
        following = self._again(turn.plan) if goes_on else None
        if following is None:
            self._resting.append(turn)
        else:
            self._begin(me.world, me.round, following)
        if not self._at_work:
            self._close()

    def _is_full(self) -> bool:
        return sum(turn.counts for turn in self._ended) >= self._buffer_size

    def _close(self) -> None:
        """Fix what the running round aggregates, if that has not been done; what ends from now on is for the next."""
        if self._closed is not None:
            closed, self._closed = self._closed, None
            turns, self._ended = self._ended, []
            self._version += any(turn.counts for turn in turns)
            closed.succeed(turns)

    def _release(self) -> None:
        """Write down that those who do not go on have waited until now."""
        for turn in self._resting:
            turn.me.wait_until_now()
        self._resting = []

    def _sent_bytes(self, turns: Sequence[Turn]) -> Counter[str]:
        """Return what has been sent since this was asked last, by kind: for `turns` and those not yet logged."""
        sent: Counter[str] = Counter()
        for turn in [*turns, *self._ended, *self._at_work.values()]:
            sent.update(turn.me.num_bytes)
            sent.subtract(turn.counted)
            turn.counted = dict(turn.me.num_bytes)
        return sent

    def _energy_j(self, turns: Sequence[Turn]) -> float | None:
        """Return what devices have taken since this was asked last; None where that of any is not known."""
        total_j = 0.0
        for turn in [*turns, *self._ended, *self._at_work.values()]:
            if turn.me.energy_j is None:
                return None
            total_j += turn.me.energy_j - turn.counted_j
            turn.counted_j = turn.me.energy_j
        return total_j
