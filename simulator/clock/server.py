"""The server's accelerators: who may use one, and how fast.

A server has slots, one for each accelerator. `fifo` and `priority` give a slot to one job at a time and let the others
wait; `processor-sharing` lets everybody in at once, and n jobs on c slots each run at min(1, c/n) of an accelerator's
speed (Kleinrock 1976, section 4.4): they are demands on a `Share` of c slots, of which each can use one.
"""

import math
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, get_args

import simpy

from simulator.network.bands import Demand
from simulator.network.share import Share
from simulator.sections.fields import Discipline

_FEW: Final = 32  # fewer requests that were given up than this are not worth tidying up


class Request(Demand):
    """Somebody at the server.

    Attributes:
        requested_s: When it came.
        started_s: When it was let in; nan while it waits.
        tag: What it leaves behind: the `cause` of whoever takes over its slot.
        cause: The tag of whoever it took its slot over from; none if it did not have to wait.
    """

    def __init__(self, server: "Server", order: int, tag: object, service_s: float) -> None:
        super().__init__(server.env, order, service_s)
        self.server = server
        self.tag = tag
        self.cause: object = None
        self.service_s = service_s
        self.requested_s: float = server.env.now
        self.started_s = math.nan
        self.gone = False

    def enter(self, now_s: float) -> None:
        """Begin, now that there is room (called by the server)."""
        raise NotImplementedError


class Turn(Request):
    """A slot for as long as its holder likes: an event that fires when it is there."""

    def enter(self, now_s: float) -> None:
        """Take the slot (called by the server)."""
        self.started_s = now_s
        self.succeed()

    def release(self) -> None:
        """Give the slot back, or stop waiting for it: then the event never fires. Does nothing the second time."""
        self.server.part(self)


class Job(Request):
    """Work of a known length: an event that fires with the seconds of service received when it has ended."""

    def enter(self, now_s: float) -> None:
        """Be served (called by the server)."""
        self.started_s = self.since_s = now_s
        if self.server.share is None:
            self.rate = 1.0
            self.env.timeout(self.service_s).callbacks.append(self.finish)
        else:
            self.server.share.start(self, 1.0, now_s)

    def finish(self, _end: simpy.Event | None = None) -> None:
        """End (called by the clock or by the share)."""
        if not self.gone:
            self.succeed(self.service_s)
            self.server.part(self)

    def cancel(self) -> None:
        """Give up now; the event fires with the seconds of service received. Does nothing once it has ended."""
        if self.triggered:
            return
        now_s = self.env.now
        if self.band is not None and self.server.share is not None:
            self.server.share.stop(self, now_s)
        self.settle(now_s)
        self.succeed(self.service_s - self.left)
        self.server.part(self)


class Server:
    """Slots, and those who wait for them.

    A protocol writes the same for every discipline and reads the wait off the job (with processor sharing: none):

        job = server.serve(service_s)
        yield job
        wait_s, step_s = job.started_s - job.requested_s, env.now - job.started_s

    A job that does not share its slot ends at exactly `started_s + service_s` in floats. One that is cancelled in
    service leaves an expired wake-up in SimPy's queue until the time when it would have ended.

    Args:
        env: The simulated clock.
        slots: Number of accelerators.
        discipline: `fifo`: in order of arrival. `priority`: the largest priority first, in order of arrival among
            equals; nobody is interrupted. `processor-sharing`: all at once, more slowly.

    Attributes:
        by_priority: Whether it is `priority`.

    Raises:
        ValueError: Fewer than one slot, or an unknown discipline.
    """

    def __init__(self, env: simpy.Environment, slots: int, discipline: Discipline = "fifo") -> None:
        if slots < 1:
            raise ValueError(f"a server needs at least 1 slot, got {slots!r}")
        if discipline not in get_args(Discipline):
            raise ValueError(f"unknown discipline {discipline!r}; allowed: {', '.join(get_args(Discipline))}")
        self.env = env
        self.slots = slots
        self.share = Share(env, float(slots)) if discipline == "processor-sharing" else None
        self.by_priority = discipline == "priority"
        self._num_free = math.inf if discipline == "processor-sharing" else slots
        self._waiting: list[tuple[float, int, Request]] = []
        self._num_waiting = 0
        self._orders = count()

    @property
    def is_idle(self) -> bool:
        """Return whether all slots are free; under processor sharing, where nobody has one, never."""
        return self._num_free == self.slots

    def serve(self, service_s: float, priority: float = 0.0, tag: object = None) -> Job:
        """Queue work that takes `service_s` on an accelerator of its own, and return the event of its end.

        Raises:
            ValueError: A service time that is negative or not finite, or a priority that is not a number.
        """
        if not 0.0 <= service_s < math.inf:
            raise ValueError(f"service takes a finite time of at least 0 s, got {service_s!r}")
        job = Job(self, next(self._orders), tag, service_s)
        self._come(job, priority)
        return job

    def request(self, priority: float = 0.0, tag: object = None) -> Turn:
        """Queue for a slot to keep until it is released, and return the event of getting it.

        Raises:
            ValueError: Under processor sharing, where nobody has a slot of their own, or a priority that is not a
                number.
        """
        if self.share is not None:
            raise ValueError("under processor-sharing there are no slots to keep; use serve()")
        turn = Turn(self, next(self._orders), tag, math.inf)
        self._come(turn, priority)
        return turn

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
                successor.enter(self.env.now)
                return
        self._num_free += 1

    def _come(self, request: Request, priority: float) -> None:
        if math.isnan(priority):
            raise ValueError("a priority must be a number, got nan")
        if self._num_free:
            self._num_free -= 1
            request.enter(request.requested_s)
        else:
            self._num_waiting += 1
            heappush(self._waiting, (-priority if self.by_priority else 0.0, request.order, request))
