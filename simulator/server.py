"""The server's accelerators: who may use one, and how fast.

A server has slots, one for each accelerator. `fifo` and `priority` give a slot to one job at a time and let the others
wait; `processor-sharing` lets everybody in, and n jobs on c slots each run at min(1, c/n) of an accelerator's speed
(Kleinrock 1976, section 4.4). Either way a job in service is a demand on a `Share` of c slots, of which it can use one.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Literal, get_args

import simpy

from simulator.bands import Demand
from simulator.share import Share

Discipline = Literal["fifo", "priority", "processor-sharing"]

_FEW: Final = 32  # below this many withdrawn requests, tidying up the queue is not worth its time


class Request(Demand):
    """Somebody at the server.

    Attributes:
        requested_s: When it came.
        started_s: When it was let in; nan while it waits.
        tag: What it leaves behind: the `cause` of whoever takes over its slot.
        cause: The tag of whoever it took its slot over from; none if it did not wait.
    """

    def __init__(self, server: Server, order: int, priority: float, tag: object) -> None:
        super().__init__(server.env, order)
        self._server = server
        self.priority = priority
        self.tag = tag
        self.cause: object = None
        self.requested_s: float = server.env.now
        self.started_s = math.nan
        self.gone = False

    def enter(self) -> None:
        """Take a slot (called by the server)."""
        self.started_s = self.env.now


class Turn(Request):
    """A slot for as long as its holder likes: an event that fires when it is there."""

    def enter(self) -> None:
        """Take a slot (called by the server)."""
        super().enter()
        self.succeed()

    def release(self) -> None:
        """Give the slot back, or stop waiting for it: then the event never fires. Does nothing the second time."""
        self._server.part(self)


class Job(Request):
    """Work of a known length: an event that fires with the seconds of service received when it has ended."""

    def __init__(self, server: Server, order: int, priority: float, tag: object, service_s: float) -> None:
        super().__init__(server, order, priority, tag)
        self.service_s = service_s
        self.left = service_s

    def enter(self) -> None:
        """Take a slot and be served (called by the server)."""
        self.started_s = self.since_s = self.env.now
        self._server.share.start(self, 1.0)

    def finish(self) -> None:
        """End (called by the share)."""
        self.succeed(self.service_s)
        self._server.part(self)

    def cancel(self) -> None:
        """Give up now; the event fires with the seconds of service received. Does nothing once it has ended."""
        if self.triggered:
            return
        if self.band is not None:
            self._server.share.stop(self)
            self.settle(self.env.now)
        self.succeed(self.service_s - self.left)
        self._server.part(self)


class Server:
    """Slots and those who wait for them.

    A protocol writes the same for every discipline, and reads the wait off the job (with processor sharing, none):

        job = server.serve(service_s)
        yield job
        wait_s, step_s = job.started_s - job.requested_s, env.now - job.started_s

    Args:
        env: The simulated clock.
        slots: Number of accelerators.
        discipline: `fifo`: in order of arrival. `priority`: the largest priority first, in order of arrival among
            equals; nobody is interrupted. `processor-sharing`: all at once, more slowly.

    Raises:
        ValueError: Fewer than one slot, or an unknown discipline.
    """

    def __init__(self, env: simpy.Environment, slots: int, discipline: Discipline = "fifo") -> None:
        if slots < 1:
            raise ValueError(f"a server needs at least 1 slot, got {slots!r}")
        if discipline not in get_args(Discipline):
            raise ValueError(f"unknown discipline {discipline!r}; allowed: {', '.join(get_args(Discipline))}")
        self.env = env
        self.share = Share(env, float(slots))
        self._discipline = discipline
        self._num_free = math.inf if discipline == "processor-sharing" else slots
        self._waiting: list[tuple[float, int, Request]] = []
        self._num_waiting = 0
        self._orders = count()

    def serve(self, service_s: float, priority: float = 0.0, tag: object = None) -> Job:
        """Queue work that takes `service_s` on an accelerator of its own, and return the event of its end.

        Raises:
            ValueError: A service time that is negative or not finite, or a priority that is not a number.
        """
        if not 0.0 <= service_s < math.inf:
            raise ValueError(f"service takes a finite time of at least 0 s, got {service_s!r}")
        job = Job(self, next(self._orders), priority, tag, service_s)
        self._come(job)
        return job

    def request(self, priority: float = 0.0, tag: object = None) -> Turn:
        """Queue for a slot to keep until it is released, and return the event of getting it.

        Raises:
            ValueError: Under processor sharing, where there is no slot to keep, or a priority that is not a number.
        """
        if self._discipline == "processor-sharing":
            raise ValueError("under processor-sharing nobody keeps a slot; use serve()")
        turn = Turn(self, next(self._orders), priority, tag)
        self._come(turn)
        return turn

    def _come(self, request: Request) -> None:
        if math.isnan(request.priority):
            raise ValueError("a priority must be a number, got nan")
        if self._num_free:
            self._num_free -= 1
            request.enter()
        else:
            self._num_waiting += 1
            urgency = -request.priority if self._discipline == "priority" else 0.0
            heappush(self._waiting, (urgency, request.order, request))

    def part(self, request: Request) -> None:
        """Forget a request that is done or given up, and let the next one in if it had a slot."""
        if request.gone:
            return
        request.gone = True
        if math.isnan(request.started_s):
            self._num_waiting -= 1
            if len(self._waiting) > 2 * self._num_waiting + _FEW:
                self._waiting = [entry for entry in self._waiting if not entry[2].gone]
                heapify(self._waiting)
            return
        while self._waiting:
            successor = heappop(self._waiting)[2]
            if not successor.gone:
                self._num_waiting -= 1
                successor.cause = request.tag
                successor.enter()
                return
        self._num_free += 1
