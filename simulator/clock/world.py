"""What can take simulated time: computing, sending, using the server. Each is written down as one closed span.

A protocol is a generator that says what a participant does, in the words of the paper's algorithm box; this module
turns each of those words into waiting on the clock and into one record. A participant may be stopped at any moment, and
no protocol needs to know: what it was doing is broken off and written down here.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import simpy

from devices.fleets import Fleet
from simulator.clock.server import Job, Server
from simulator.costs.cost import Costs
from simulator.costs.energy import Powers
from simulator.costs.pace import Pace
from simulator.network.connections import CONSTANT, Connections, ServerLinks
from simulator.network.fluid import Link, Network, Transfer
from simulator.network.links import Links
from simulator.protocols.rounds import Status
from simulator.records.runs import NO_CAUSE, OUTSIDE_STEPS, SERVER_CLIENT
from simulator.records.span_log import NoSpans, SpanLog
from simulator.sections.fields import Discipline

Route = tuple[Link, ...]
Steps = Generator[simpy.Event, object, None]
T = TypeVar("T")


class World:
    """The clock, the links, the server and the log that all participants share.

    Args:
        fleet: the clients' own connections.
        server_links: the server's.
        connections: how links are shared and vary.
        slots, discipline: of the server.
        costs: what a protocol asks for.
        spans: where it is written down.
        outages_s: from when until when nothing passes the server's connection; in order of time.
        discipline: whom the server serves next.
        pace: how long computations really take; None: as long as they are modelled.
        powers: of each device of the fleet's table; none where nobody's energy is known.
        fast_forward: whether rounds in which nobody meets anybody may do without events.

    Attributes:
        num_forwarded, num_in_vain: rounds that did without events, and those that were tried and could not.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        server_links: ServerLinks,
        slots: int,
        costs: Costs,
        spans: SpanLog,
        outages_s: Sequence[tuple[float, float]] = (),
        connections: Connections = CONSTANT,
        discipline: Discipline = "fifo",
        pace: Pace | None = None,
        powers: Sequence[Powers | None] = (),
        fast_forward: bool = True,
    ) -> None:
        self.pace = pace
        self._fleet, self._powers = fleet, powers
        self.env = simpy.Environment()
        self.network = Network(self.env)
        self.server = Server(self.env, slots, discipline)
        self.costs = costs
        self.spans = spans
        self.fast_forward = fast_forward
        self.num_forwarded = self.num_in_vain = 0
        self._made_of = fleet, server_links, connections
        self._links = Links(fleet, server_links, connections, outages_s)

    def routes(self, client: int, round: int) -> tuple[Route, Route, float]:  # noqa: A002
        """Return the client's way up in a round, its way down and the latency of either in seconds."""
        return self._links.routes(client, round, self.env.now)

    def powers(self, client: int) -> Powers | None:
        """Return what the client's device takes in each of its states; None where that is not known."""
        return self._powers[int(self._fleet.device_index[client])] if self._powers else None

    def forget_rates(self) -> None:
        """Forget how shared links were shared, where nothing is under way: the next round finds no traces of it.

        What is forgotten are wake-ups of messages that were cut off. They would do nothing, but be in the order of
        events, which may decide who comes first of those who come at the same moment.
        """
        self._links.forget_rates()

    def anew(self) -> "World":
        """Return a world of the same machines in which nothing has happened, and nothing is unreachable."""
        fleet, links, connections = self._made_of
        spans = NoSpans(dict[str, object]().__setitem__)
        return World(fleet=fleet, server_links=links, connections=connections, slots=1, costs=self.costs, spans=spans)

    def run(self, work: Generator[simpy.Event, object, T]) -> T:
        """Let time pass until some work is done, and return its result."""
        result: T = self.env.run(self.env.process(work))
        self.env.step()  # SimPy has put the end of the work back into its queue, where it would keep all of it alive
        return result

    def wait_until(self, time_s: float) -> None:
        """Let time pass until then, if it has not passed already."""
        if time_s > self.env.now:
            self.env.run(until=time_s)

    def aggregate(self, round: int, seconds: float, cause: int) -> Steps:  # noqa: A002
        """Let the server spend `seconds` on averaging; it has no slot to wait for at the end of a round."""
        start_s = self.env.now
        yield self.env.timeout(seconds)
        self.spans.add(
            "aggregate", "server", SERVER_CLIENT, round, OUTSIDE_STEPS, start_s, self.env.now, cause_id=cause
        )


@dataclass(slots=True)
class Service:
    """The span of one use of the server, once it is written: what a job leaves to whoever takes over its slot."""

    span_id: int = NO_CAUSE


@dataclass(kw_only=True)
class Participant:
    """One client in one round: what it can do, and what that has cost it so far.

    `walker.Walker` does the same things without events: how long they take has to be changed in both.

    Attributes:
        seconds: time spent so far by span kind.
        num_bytes: bytes sent or received so far by span kind.
        last_span: the span that ended last, which is the cause of the next one; none before the first.
        step: the local step that it is at, from 1.
        num_steps: local steps completed.
        began_s: when its own work of the round began.
        ended_s: when its own work of the round was over; what follows is waiting for others.
        status: how that ended; None while it is at work.
        lags_s: by which a server that serves by priority ranks it, one for each time that it turns to the server.
        energy_j: what its device has taken so far; None where that is not known.
        lanes: what goes on for it besides (`simulator.clock.lane`), and is stopped with it.
    """

    world: World
    client: int
    round: int
    seconds: dict[str, float] = field(default_factory=dict)
    num_bytes: dict[str, int] = field(default_factory=dict)
    last_span: int = NO_CAUSE
    step: int = OUTSIDE_STEPS
    num_steps: int = 0
    ended_s: float = math.inf
    status: Status | None = None
    lags_s: Sequence[float] = ()
    lanes: Sequence["Participant"] = ()
    began_s: float = field(init=False)
    energy_j: float | None = field(init=False)

    def __post_init__(self) -> None:
        """Start where the clock stands; look up the links once."""
        self.began_s = self._written_s = self.world.env.now  # until when its time is written down
        self._doing: tuple[str, str, Transfer | Job | None] = ("", "", None)
        self._num_served = 0
        self._up, self._down, self._latency_s = self.world.routes(self.client, self.round)
        self._powers = self.world.powers(self.client)
        self.energy_j = None if self._powers is None else 0.0
        self._heat = None if self.world.pace is None else self.world.pace.heat(self.client)
        self._add_span: Callable[..., int] = self.world.spans.add

    @property
    def routes(self) -> tuple[Route, Route]:
        """Return the links of its way up and of its way down."""
        return self._up, self._down

    def begin(self, steps: Steps) -> simpy.Process:
        """Start to do what a protocol says, and return the event of its end, whichever it is."""
        self._process = self.world.env.process(self._work(steps))
        return self._process

    def stop(self, status: Status) -> None:
        """Break off its round now, for the reason that `status` names. Does nothing once its own work is over."""
        if self.status is None:
            self.status = status
            self._process.interrupt()
            for lane in self.lanes:
                lane.stop(status)

    def compute(self, kind: str, seconds: float) -> Steps:
        """Compute on the client's own device for `seconds`."""
        self._doing = kind, "client", None
        yield self.world.env.timeout(self.computing_s(kind, seconds))
        self._write(kind, "client")

    def upload(self, *parts: tuple[str, int]) -> Steps:
        """Send one message of one or more (kind, bytes) parts to the server; latency is paid once, by the first."""
        return self._send("uplink", self._up, parts)

    def download(self, *parts: tuple[str, int]) -> Steps:
        """Receive one message of one or more (kind, bytes) parts from the server."""
        return self._send("downlink", self._down, parts)

    def serve(self, kind: str, seconds: float, *, on_served: Callable[[], None] | None = None) -> Steps:
        """Wait for the server's turn, then let it work `seconds` for this client.

        `on_served` is called when the work is done, even if the client is gone by then.
        """
        lag_s = self.lags_s[self._num_served] if self.lags_s else 0.0
        self._num_served += 1
        job = self.world.server.serve(self.serving_s(kind, seconds), priority=lag_s, tag=Service())
        if on_served is not None:  # who gives up waiting fires the same event, but was never served
            job.callbacks.append(lambda job: None if math.isnan(job.started_s) else on_served())
        self._doing = kind, "server", job
        yield job
        self._write_service(kind, job)

    def wait_for(self, kind: str, event: simpy.Event) -> Steps:
        """Do nothing until something happens; its value, if that is a number, is the span that led to it."""
        self._doing = kind, "idle", None
        yield event
        if self._written_s < self.world.env.now:
            self._write(kind, "idle")
            if isinstance(event.value, int):
                self.last_span = event.value

    def wait_until_now(self) -> None:
        """Write down that the client has done nothing for its round since its own work was over."""
        if self._written_s < self.world.env.now:
            self._write("offline" if self.status == "dropped" else "round_wait", "idle")
        if self.world.pace is not None:
            self.world.pace.keep(self.client, self._heat)

    def computing_s(self, kind: str, seconds: float) -> float:
        """Return how long the client's device really takes from now on for what is modelled to take `seconds`."""
        if self.world.pace is not None:
            seconds *= self.world.pace.client_factor(kind, self.client, self.round, self.step)
        return seconds if self._heat is None else self._heat.computing_s(seconds, self._written_s)

    def serving_s(self, kind: str, seconds: float) -> float:
        """Return how long the server really takes for this client for what is modelled to take `seconds`."""
        if self.world.pace is not None:
            seconds *= self.world.pace.server_factor(kind, self.client, self.round, self.step)
        return seconds

    def charge(self, kind: str, actor: str, seconds: float) -> float | None:
        """Add what the client's device takes in a span, and return it; None where that is not known."""
        if self._powers is None or self.energy_j is None:
            return None
        # Who is gone takes nothing for this run any more.
        joules = 0.0 if kind == "offline" else self._powers[actor] * seconds
        self.energy_j += joules
        return joules

    def _work(self, steps: Steps) -> Steps:
        try:
            yield from steps
            self.status = "finished"
        except simpy.Interrupt:
            self._break_off()
        self.ended_s = self._written_s

    def _break_off(self) -> None:
        """Give up what is under way: it is charged as far as it has come.

        A message is cut off; what of it has arrived, in whole bytes, has been sent. A server that the client waits for
        is told. A step that the server has begun it ends for nobody: its rest is a span of the server's own.
        """
        kind, actor, event = self._doing
        match event:
            case None:
                self._write(kind, actor)
            case Transfer():
                event.cancel()
                self._write(kind, actor, num_bytes=round(event.value))
            case Job() if math.isnan(event.started_s):
                event.cancel()
                self._write("server_wait", "idle")
            case Job():
                self._write_service(kind, event)
                if not event.triggered:
                    event.callbacks.append(partial(self._write_rest, kind, self.step))
        self.step = OUTSIDE_STEPS

    def _write_service(self, kind: str, job: Job) -> None:
        """Write down a use of the server until now, and the wait before it."""
        if job.started_s > self._written_s:
            self._write("server_wait", "idle", end_s=job.started_s)
        if isinstance(job.cause, Service):
            self.last_span = job.cause.span_id  # whoever left the slot is why this one could begin
        self._write(kind, "server")
        if isinstance(job.tag, Service):
            job.tag.span_id = self.last_span

    def _write_rest(self, kind: str, step: int, job: Job) -> None:
        """Write down what the server did for a client that was gone."""
        assert isinstance(job.tag, Service)
        start_s, end_s = self.ended_s, self.world.env.now
        job.tag.span_id = self.world.spans.add(
            kind, "server", SERVER_CLIENT, self.round, step, start_s, end_s, 0, job.tag.span_id
        )

    def _send(self, actor: str, route: Sequence[Link], parts: Sequence[tuple[str, int]]) -> Steps:
        latency_s = self._latency_s
        for kind, num_bytes in parts:
            if num_bytes == 0:
                continue  # nothing is sent
            transfer = self.world.network.send(route, num_bytes, latency_s)
            self._doing = kind, actor, transfer
            yield transfer
            self._write(kind, actor, num_bytes=num_bytes)
            latency_s = 0.0

    def _write(self, kind: str, actor: str, *, end_s: float | None = None, num_bytes: int = 0) -> None:
        start_s, self._written_s = self._written_s, self.world.env.now if end_s is None else end_s
        self.seconds[kind] = self.seconds.get(kind, 0.0) + (self._written_s - start_s)
        if num_bytes:
            self.num_bytes[kind] = self.num_bytes.get(kind, 0) + num_bytes
        energy_j = self.charge(kind, actor, self._written_s - start_s)
        self.last_span = self._add_span(
            kind,
            actor,
            self.client,
            self.round,
            self.step,
            start_s,
            self._written_s,
            num_bytes,
            self.last_span,
            energy_j,
        )
