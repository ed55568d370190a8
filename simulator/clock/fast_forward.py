"""Rounds in which nobody meets anybody, without events: the same float additions in the same order, the same spans.

Where no client has to share a link or to wait for the server, each goes through its round as if it were alone, and the
end of whatever it does is a sum that needs no event loop. So every client is taken through the protocol on a clock of
its own, and it is checked that they have not met:

* each link that several use is as wide as all of theirs together;
* the server never had more to do at a time than it has slots;
* a step whose client went away, which the server ends all the same, ended before the round did: it leaves no traces.

Spans are written down in the order of the events that did not happen: by their ends. Of equal clients in lockstep the
first to start is the first to end; any other tie is for the events to decide. Whatever is not certain is declined, and
the round runs on events as ever: what comes out is equal to the bit, and so are the rounds that follow.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.clock.alone import ClientRound
from simulator.clock.server import Server
from simulator.clock.walker import CAUSE, CLIENT, END_S, STEP, NotCertain, Span, Walker
from simulator.clock.world import World
from simulator.network.bands import units
from simulator.network.fluid import Link
from simulator.protocols.rounds import ClientPlan, Status, Terms

PATIENCE: Final = 2
"""So many times more than with success a world is tried in vain: its rounds resemble each other."""


def forwarded(
    world: World,
    number: int,
    plans: Sequence[ClientPlan],
    client_round: ClientRound,
    *,
    leaves_s: Sequence[float],
    terms: Terms,
) -> Sequence[Walker] | None:
    """Take clients through a round at once, if nobody meets anybody, and write down what they do.

    Args:
        world: where; its clock stays where it is.
        number: of the round.
        plans: what they do, in the order in which they start.
        client_round: how; it acts through its participant alone.
        leaves_s: when each of them goes.
        terms: when those who are still at work are stopped.

    Returns:
        Those who took part, who are ahead of the world's clock; or None where it takes events: nothing has happened.
    """
    if not world.fast_forward or world.num_in_vain > world.num_forwarded + PATIENCE:
        return None
    try:
        walkers = _walkers(world, number, plans)
        _walk(walkers, plans, client_round, _stops(world.env.now, leaves_s, terms.deadline_s))
        if terms.num_needed:
            walkers = _enough(walkers, plans, client_round, terms.num_needed)
        _check_server(walkers, world.server)
        _check_rests(walkers)
        order = _order(walkers)
    except NotCertain:
        world.num_in_vain += 1
        return None
    world.num_forwarded += 1
    _write(world, walkers, order)
    return walkers


def _walkers(world: World, number: int, plans: Sequence[ClientPlan]) -> list[Walker]:
    """Return the participants, if all can send and receive at once at the full rates of their own links."""
    if not world.server.is_idle:  # it still has something to end for a client of the last round that has gone
        raise NotCertain
    walkers = [Walker(world=world, client=plan.client, round=number) for plan in plans]
    loads = [_load(me) for me in walkers]
    users, total = Counter(chain.from_iterable(loads)), Counter(loads[0])
    for load in loads[1:]:
        total.update(load)
    for link, num_users in users.items():
        if link.varies or link.num_transfers or (num_users > 1 and total[link] > units(link.capacity_bytes_per_s)):
            raise NotCertain
    # Clients that meet at one link are a star. What meets at several is solved in floats: too close to call.
    if any(sum(users[link] > 1 for link in route) > 1 for me in walkers for route in me.routes):
        raise NotCertain
    return walkers


def _load(me: Walker) -> dict[Link, int]:
    """Return what a client alone can ask of each of its links, in the whole numbers in which a `Share` counts rates.

    It does one thing at a time: a link that it uses both ways has to carry the faster one.
    """
    load: dict[Link, int] = {}
    for route in me.routes:
        rate = units(min(link.capacity_bytes_per_s for link in route))
        for link in route:
            load[link] = max(rate, load.get(link, 0))
    return load


def _stops(now_s: float, leaves_s: Sequence[float], deadline_s: float) -> list[tuple[float, Status]]:
    """Return when and why each client is stopped, if it is still at work."""
    last_s = now_s + deadline_s
    if any(time_s < now_s or time_s == last_s < math.inf for time_s in leaves_s):
        raise NotCertain
    return [(time_s, "dropped") if time_s < last_s else (last_s, "late") for time_s in leaves_s]


def _walk(
    walkers: Sequence[Walker],
    plans: Sequence[ClientPlan],
    client_round: ClientRound,
    stops: Sequence[tuple[float, Status]],
) -> None:
    for me, plan, (stop_s, status) in zip(walkers, plans, stops, strict=True):
        me.walk(client_round(me, plan), stop_s, status)


def _enough(
    walkers: list[Walker], plans: Sequence[ClientPlan], client_round: ClientRound, num_needed: int
) -> list[Walker]:
    """Return the participants once more, those stopped who are still at work when enough have handed in."""
    handed_in_s = sorted(me.ended_s for me in walkers if me.status == "finished")
    if len(handed_in_s) < num_needed:
        return walkers
    enough_s = handed_in_s[num_needed - 1]
    if sum(me.ended_s == enough_s for me in walkers) > 1:
        raise NotCertain
    stopped = []
    for me, plan in zip(walkers, plans, strict=True):
        if me.ended_s > enough_s:
            again = Walker(world=me.world, client=me.client, round=me.round)
            _walk([again], [plan], client_round, [(enough_s, "surplus")])
            stopped.append(again)
        else:
            stopped.append(me)
    return stopped


def _check_server(walkers: Sequence[Walker], server: Server) -> None:
    """Make sure that nobody waits, where whoever comes at the very end of somebody's turn counts as waiting."""
    times_s = np.array(list(chain.from_iterable(me.served_s for me in walkers))).reshape(-1, 2)
    starts_s, ends_s = np.sort(times_s[:, 0]), np.sort(times_s[:, 1])
    num_there = np.arange(1, len(starts_s) + 1) - np.searchsorted(ends_s, starts_s, side="left")
    if (num_there > server.slots).any():
        raise NotCertain


def _check_rests(walkers: Sequence[Walker]) -> None:
    over_s = max(me.ended_s for me in walkers)
    if any(me.rest is not None and me.rest[END_S] >= over_s for me in walkers):
        raise NotCertain


def _order(walkers: Sequence[Walker]) -> NDArray[np.int64]:
    """Return the order in which all that was done ends; places count through the walkers' lists."""
    ends_s = np.fromiter(chain.from_iterable((span[END_S] for span in me.done) for me in walkers), float)
    nums = [len(me.done) for me in walkers]
    # Whoever is stopped at a time is stopped after everything else of that time.
    is_cut = np.zeros(len(ends_s), bool)
    firsts = np.cumsum([0, *nums])
    for me, after in zip(walkers, firsts[1:].tolist(), strict=True):
        if me.status != "finished":
            is_cut[after - (1 if me.rest is None else 2)] = True
    order = np.lexsort((is_cut, ends_s))
    who = np.repeat(np.arange(len(walkers)), nums)[order]
    tied = (ends_s[order[1:]] == ends_s[order[:-1]]) & (who[1:] != who[:-1])
    tied &= ~(is_cut[order[1:]] | is_cut[order[:-1]])
    agreed: Counter[tuple[int, int]] = Counter()
    for place in np.flatnonzero(tied).tolist():
        one, other = who[place : place + 2].tolist()
        num = order[place] - firsts[one] + 1
        since = agreed[one, other]
        if num != order[place + 1] - firsts[other] + 1 or not all(
            map(_in_lockstep, walkers[one].done[since:num], walkers[other].done[since:num])
        ):
            raise NotCertain
        agreed[one, other] = num
    return order


def _in_lockstep(one: Span, other: Span) -> bool:
    return one[:CLIENT] == other[:CLIENT] and one[STEP:CAUSE] == other[STEP:CAUSE]


def _write(world: World, walkers: Sequence[Walker], order: NDArray[np.int64]) -> None:
    add: Callable[..., int] = world.spans.add
    spans = [(me, span) for me in walkers for span in me.done]
    for place in order.tolist():
        me, span = spans[place]
        span_id = add(*span[:CAUSE], me.last_span, *span[CAUSE + 1 :])
        if span is not me.rest:
            me.last_span = span_id
    for me in walkers:
        me.rejoin()
