"""The barrier at the end of a round: whom it waits for, and who is stopped before.

A round ends when nobody is at work for it any more. Whoever goes away, fails, misses the deadline or is not needed is
stopped: this is the one place that decides so, and `Participant.stop` the one that acts on it.

Ties: what ends at the very moment of a deadline or of a departure has ended in time. Of adapters that arrive at the
moment at which enough are there, those count whose clients come first in the order of events.
"""

import math
from collections.abc import Callable, Generator, Sequence
from functools import partial
from heapq import heappush
from typing import Final

import simpy

from simulator.clock.alone import ClientRound, PathS, lags_s, path_s, played_s
from simulator.clock.fast_forward import forwarded
from simulator.clock.world import Participant, Steps, World
from simulator.protocols.rounds import ClientLog, ClientPlan, RoundLog, Status, Terms

LATE: Final = 2  # an event of this priority comes after all others of its time: SimPy's own are 0 and 1


def gather(
    world: World,
    number: int,
    plans: Sequence[ClientPlan],
    client_round: ClientRound,
    terms: Terms,
    *,
    apart: bool = False,
    path_s: PathS = path_s,
    is_ranked: bool = True,
) -> Generator[simpy.Event, object, list[Participant]]:
    """Take clients through their rounds, all from now on, and return them when nobody is at work any more.

    Args:
        world: where.
        number: of the round.
        plans: what they do, in the order in which they start.
        client_round: how.
        terms: when those who are still at work are stopped.
        apart: whether clients have nothing in common but links and the server, and `client_round` acts through its
            participant alone: then a round in which nobody meets anybody does without events (`fast_forward`).
        path_s: how long a client's round would take it alone.
        is_ranked: whether a server that serves by priority ranks clients by the lag of `client_round`.
    """
    world.forget_rates()
    leaves_s = [_leaves_s(world, number, plan, client_round, path_s) for plan in plans]
    ahead = forwarded(world, number, plans, client_round, leaves_s=leaves_s, terms=terms) if apart else None
    if ahead is not None:
        opened = world.env.event()
        Moment(world.env, max(me.ended_s for me in ahead), opened.succeed)
        yield opened
        return [*ahead]
    participants = [
        Participant(
            world=world,
            client=plan.client,
            round=number,
            lags_s=lags_s(world, number, plan, client_round) if is_ranked else (),
        )
        for plan in plans
    ]
    barrier = Barrier(world.env, participants, terms.num_needed)
    barrier.stop_leavers(leaves_s)
    if terms.deadline_s < math.inf:
        barrier.stop_all_at(world.env.now + terms.deadline_s, "late")
    for me, plan in zip(participants, plans, strict=True):
        barrier.wait_for(me, me.begin(client_round(me, plan)))
    yield barrier.opened
    return participants


def synchronous_round(
    world: World,
    number: int,
    plans: Sequence[ClientPlan],
    client_round: ClientRound,
    terms: Terms,
    *,
    apart: bool = False,
    path_s: PathS = path_s,
) -> RoundLog:
    """Run one round to its barrier on the clock and return its log.

    Clients start together, in the order of `plans`; when nobody is at work any more the server aggregates what has been
    handed in, and everybody waits for that. Whoever has not handed in takes no part in it.

    Args:
        world: where.
        number: of the round.
        plans: what clients do.
        client_round: how.
        terms: when those who are still at work are stopped.
        apart: see `gather`.
        path_s: how long a client's round would take it alone.
    """

    def whole() -> Generator[simpy.Event, object, list[Participant]]:
        participants = yield from gather(
            world, number, plans, client_round, terms, apart=apart, path_s=path_s, is_ranked=path_s is not played_s
        )
        yield from settle(world, number, plans, participants)
        return participants

    start_s = world.env.now
    participants = world.run(whole())
    return round_log(number, start_s, world.env.now, participants, plans)


def settle(world: World, number: int, plans: Sequence[ClientPlan], participants: Sequence[Participant]) -> Steps:
    """Let the server aggregate what has been handed in, if anything has, and everybody wait for that."""
    handed_in = [(me.client, plan.cut) for me, plan in zip(participants, plans, strict=True) if me.status == "finished"]
    if handed_in:
        last = max(participants, key=lambda me: (me.ended_s, me.status == "finished"))
        yield from world.aggregate(number, world.costs.aggregate_s(handed_in), last.last_span)
    release(participants)


def release(participants: Sequence[Participant]) -> None:
    """Write down that everybody has waited until now, the end of the round."""
    for me in participants:
        me.wait_until_now()


def round_log(
    number: int,
    start_s: float,
    end_s: float,
    participants: Sequence[Participant],
    plans: Sequence[ClientPlan],
    *,
    order: tuple[tuple[int, int], ...] = (),
) -> RoundLog:
    """Return what a round came to; `order` as in `RoundLog`."""
    clients = []
    for me, plan in zip(participants, plans, strict=True):
        assert me.status is not None  # nobody is at work any more
        clients.append(
            ClientLog(
                plan=plan,
                start_s=me.began_s,
                end_s=me.ended_s,
                seconds=me.seconds,
                num_bytes=me.num_bytes,
                num_steps=me.num_steps,
                status=me.status,
                energy_j=me.energy_j,
            )
        )
    return RoundLog(round=number, start_s=start_s, end_s=end_s, clients=tuple(clients), order=order)


class Barrier:
    """Opens when nobody is at work any more.

    Attributes:
        opened: the event of that.

    Args:
        env: the simulated clock.
        participants: whom it waits for.
        num_needed: when so many have handed in, the others are stopped; None: all.
    """

    def __init__(self, env: simpy.Environment, participants: Sequence[Participant], num_needed: int | None) -> None:
        self.opened = env.event()
        self._env, self._participants = env, participants
        self._num_at_work = len(participants)
        self._num_missing = num_needed or len(participants)
        self._leavers: list[tuple[float, int]] = []

    def wait_for(self, me: Participant, end: simpy.Event) -> None:
        """Count a participant out at the end of its work."""
        end.callbacks.append(partial(self._count_out, me))

    def stop_all_at(self, time_s: float, status: Status) -> None:
        """Stop those who are at work at a time, once everything else of that time has happened."""
        Moment(self._env, time_s, partial(self._stop_all, status))

    def stop_leavers(self, leaves_s: Sequence[float]) -> None:
        """Stop each participant when it leaves. One event is waiting at a time, not one for each of them."""
        leaving = [(time_s, place) for place, time_s in enumerate(leaves_s) if time_s < math.inf]
        self._leavers = sorted(leaving, reverse=True)
        self._await_leaver()

    def _await_leaver(self) -> None:
        if self._leavers:
            Moment(self._env, self._leavers[-1][0], self._stop_leavers)

    def _stop_leavers(self) -> None:
        while self._leavers and self._leavers[-1][0] <= self._env.now:
            self._participants[self._leavers.pop()[1]].stop("dropped")
        self._await_leaver()

    def _stop_all(self, status: Status) -> None:
        for me in self._participants:
            me.stop(status)

    def _count_out(self, me: Participant, _end: simpy.Event) -> None:
        self._num_at_work -= 1
        if me.status == "finished":
            self._num_missing -= 1
            if not self._num_missing:
                self._stop_all("surplus")
        if not self._num_at_work:
            # Moments that are still to come find nobody, and keep nobody in memory.
            self._participants, self._leavers = (), []
            self.opened.succeed()


class Moment(simpy.Event):  # type: ignore[misc]
    """A call at a time (not before now), after all else that happens then.

    The time is met to the bit, as by `simulator.network.alarm.Alarm`: SimPy's own delays would round it.
    """

    def __init__(self, env: simpy.Environment, time_s: float, call: Callable[[], None]) -> None:
        super().__init__(env)
        self._ok = True
        self._value = None
        self.callbacks.append(lambda _: call())
        heappush(env._queue, (max(time_s, env.now), LATE, next(env._eid), self))  # noqa: SLF001


def _leaves_s(world: World, number: int, plan: ClientPlan, client_round: ClientRound, path_s: PathS) -> float:
    """Return when a client goes or fails, whichever is first."""
    if plan.fails_frac is None:
        return plan.leaves_s
    fails_s: float = world.env.now + plan.fails_frac * path_s(world, number, plan, client_round)
    return min(plan.leaves_s, fails_s)
