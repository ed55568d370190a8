"""A participant that goes through its round at once, on a clock of its own, as if it met nobody."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import simpy

from simulator.clock.world import Participant, Steps
from simulator.network.fluid import Link
from simulator.protocols.rounds import Status
from simulator.records.runs import NO_CAUSE, OUTSIDE_STEPS, SERVER_CLIENT

Span: TypeAlias = tuple[Any, ...]
"""The arguments of `SpanLog.add`, in order."""

CLIENT, STEP, END_S, CAUSE = 2, 4, 6, 8
"""Places in it."""


class NotCertain(Exception):  # noqa: N818 - nothing is wrong
    """It takes events to say what happens."""


@dataclass(kw_only=True)
class Walker(Participant):
    """A participant whose clock is its own: the time until which its time is written down.

    Every end is the float that the events would have come to: `now + seconds` for a computation and for the server,
    `(now + latency) + bytes / rate` for a message that is never slowed.

    Attributes:
        done: what it did, in order, not yet written down.
        served_s: from when until when the server was at work for it.
        rest: what the server had still to do for it when it was broken off; it stands at the end of `done`.
    """

    done: list[Span] = field(default_factory=list)
    served_s: list[tuple[float, float]] = field(default_factory=list)
    rest: Span | None = None

    def __post_init__(self) -> None:
        """Keep what it does to itself."""
        super().__post_init__()
        self._add_span = partial(_keep, self.done)  # not of this object: it is to be gone when nobody needs it

    def walk(self, steps: Steps, stop_s: float, status: Status) -> None:
        """Go through the round, to be stopped at a time if it is still at work after that, for what `status` says.

        Raises:
            NotCertain: it waits for something else than its own work.
        """
        self._stop_s, self._stop_status = stop_s, status
        work = self._work(steps)
        for _ in work:
            work.throw(NotCertain())

    def rejoin(self) -> None:
        """Go on at the world's clock."""
        self._add_span = self.world.spans.add

    def compute(self, kind: str, seconds: float) -> Steps:
        """Be done with a computation."""
        end_s = self._written_s + self.computing_s(kind, seconds)
        if end_s > self._stop_s:
            self._cut(kind, "client")
        self._write(kind, "client", end_s=end_s)
        return _NOTHING

    def serve(self, kind: str, seconds: float, *, on_served: Callable[[], None] | None = None) -> Steps:
        """Be done with a use of the server, which is free; nobody can be told of it in the order of events."""
        if on_served is not None:
            raise NotCertain
        end_s = self._written_s + self.serving_s(kind, seconds)
        self.served_s.append((self._written_s, end_s))
        if end_s > self._stop_s:
            self.rest = kind, "server", SERVER_CLIENT, self.round, self.step, self._stop_s, end_s, 0
            self._cut(kind, "server")
        self._write(kind, "server", end_s=end_s)
        return _NOTHING

    def _send(self, actor: str, route: Sequence[Link], parts: Sequence[tuple[str, int]]) -> Steps:
        rate, latency_s = min([link.capacity_bytes_per_s for link in route]), self._latency_s
        for kind, num_bytes in parts:
            if num_bytes == 0:
                continue  # nothing is sent
            moves_s = self._written_s + latency_s
            end_s = moves_s + num_bytes / rate
            if end_s > self._stop_s:
                moving_s = max(0.0, self._stop_s - moves_s)
                left = max(0.0, num_bytes - rate * moving_s)
                self._cut(kind, actor, round(num_bytes - left))
            self._write(kind, actor, end_s=end_s, num_bytes=num_bytes)
            latency_s = 0.0
        return _NOTHING

    def _cut(self, kind: str, actor: str, num_bytes: int = 0) -> None:
        """Come as far as there is time, and then be stopped as a process is."""
        self._write(kind, actor, end_s=self._stop_s, num_bytes=num_bytes)
        raise simpy.Interrupt(None)

    def _break_off(self) -> None:
        self.status = self._stop_status
        self.step = OUTSIDE_STEPS
        if self.rest is not None:
            self.done.append(self.rest)


def _keep(done: list[Span], *span: Any) -> int:
    done.append(span)
    return NO_CAUSE


def _nothing() -> Steps:
    yield from ()


_NOTHING = _nothing()
next(_NOTHING, None)  # a generator that has come to its end: it can be waited for again and again
