"""A wake-up call at an absolute time that can be moved.

SimPy offers delays only, and in floats `now + (time - now)` is not always `time`. An end that is known as an absolute
time must be met to the bit, or a step that was computed without the event loop would differ from one that went
through it. SimPy cannot take an event out of its queue either, so moving a wake-up must not leave one expired entry
behind per move.
"""

import math
from collections.abc import Callable
from heapq import heappush

import simpy
from simpy.events import NORMAL


class Alarm(simpy.Event):  # type: ignore[misc]
    """One wake-up call, set to the time that is wanted now.

    The alarm puts itself into SimPy's queue, only when it is wanted earlier than every entry it already has there. An
    entry that comes up too early queues the alarm again for the wanted time. So the entries left behind are at most as
    many as the times the wanted time moved to before all of them, and each is gone when its time has passed. They can
    outlive the simulated work: run an environment until the event that ends the work, not until its queue is empty.

    Args:
        env: The simulated clock.
        ring: Called with the time when that has come; the alarm is then off until it is set again.
    """

    def __init__(self, env: simpy.Environment, ring: Callable[[float], None]) -> None:
        super().__init__(env)
        self._ok = True
        self._value = None
        self._ring = ring
        self._handlers = [self._wake]
        self._queued_s = [math.inf]
        self.callbacks = self._handlers
        self.due_s = math.inf
        self._queue = env._queue  # noqa: SLF001 (there is no public way to an absolute time)
        self._event_ids = env._eid  # noqa: SLF001

    def set(self, time_s: float) -> None:
        """Ring at a time (not before now) instead of at the time set before; infinity switches the alarm off."""
        self.due_s = time_s
        if time_s < self._queued_s[-1]:
            self._queued_s.append(time_s)
            heappush(self._queue, (time_s, NORMAL, next(self._event_ids), self))

    def _wake(self, _event: simpy.Event) -> None:
        self.callbacks = self._handlers  # SimPy took them away: this event is used again
        now_s = self._queued_s.pop()
        if self.due_s > now_s:
            self.set(self.due_s)
        else:
            self.due_s = math.inf
            self._ring(now_s)
