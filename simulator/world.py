"""What can take simulated time: computing, sending, using the server. Each is written down as one closed span.

A protocol is a generator that says what a participant does, in the words of the paper's algorithm box; this module
turns each of those words into waiting on the clock and into one record.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import simpy

from devices.fleets import Fleet
from simulator.cost import Costs
from simulator.fluid import Link, Network
from simulator.recorder import SpanLog
from simulator.records import NO_CAUSE, OUTSIDE_STEPS, SERVER_CLIENT
from simulator.server import Server

Steps = Generator[simpy.Event, object, None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerLinks:
    """The server's own connection, shared by all clients. Full duplex: up and down do not disturb each other.

    `uplink` and `downlink` are seen from the clients: what they send passes through `uplink`.
    """

    uplink_bytes_per_s: float
    downlink_bytes_per_s: float
    latency_s: float


class World:
    """The clock, the links, the server and the log that all participants share."""

    def __init__(self, *, fleet: Fleet, server_links: ServerLinks, slots: int, costs: Costs, spans: SpanLog) -> None:
        self.env = simpy.Environment()
        self.network = Network(self.env)
        self.server = Server(self.env, slots=slots)
        self.costs = costs
        self.spans = spans
        self._fleet = fleet
        self._latency_s = server_links.latency_s
        self._server_up = Link(server_links.uplink_bytes_per_s)
        self._server_down = Link(server_links.downlink_bytes_per_s)
        self._links: dict[int, tuple[Link, Link]] = {}

    def routes(self, client: int) -> tuple[tuple[Link, Link], tuple[Link, Link], float]:
        """Return the client's way up, its way down and the latency of either in seconds."""
        if client not in self._links:
            self._links[client] = (
                Link(float(self._fleet.uplink_bytes_per_s[client])),
                Link(float(self._fleet.downlink_bytes_per_s[client])),
            )
        up, down = self._links[client]
        return (up, self._server_up), (self._server_down, down), float(self._fleet.latency_s[client]) + self._latency_s

    def aggregate(self, round: int, seconds: float, cause: int) -> Steps:  # noqa: A002
        """Let the server spend `seconds` on averaging; it has no slot to wait for at the end of a round."""
        start_s = self.env.now
        yield self.env.timeout(seconds)
        self.spans.add(
            "aggregate", "server", SERVER_CLIENT, round, OUTSIDE_STEPS, start_s, self.env.now, cause_id=cause
        )


@dataclass(slots=True)
class _Service:
    """The span of one use of the server, once it is written."""

    span_id: int = NO_CAUSE


@dataclass(kw_only=True)
class Participant:
    """One client in one round: what it can do, and what that has cost it so far.

    Attributes:
        seconds: time spent so far by span kind.
        num_bytes: bytes sent or received so far by span kind.
        last_span: the span that ended last, which is the cause of the next one; none before the first.
        step: the local step that it is at, from 1.
        handed_in_s: when its own work of the round was over; what follows is waiting for others.
    """

    world: World
    client: int
    round: int
    seconds: dict[str, float] = field(default_factory=dict)
    num_bytes: dict[str, int] = field(default_factory=dict)
    last_span: int = NO_CAUSE
    step: int = OUTSIDE_STEPS
    handed_in_s: float = math.inf

    def __post_init__(self) -> None:
        """Start where the clock stands; look up the links once."""
        self._ended_s = self.world.env.now
        self._up, self._down, self._latency_s = self.world.routes(self.client)

    def compute(self, kind: str, seconds: float) -> Steps:
        """Compute on the client's own device for `seconds`."""
        yield self.world.env.timeout(seconds)
        self._write(kind, "client")

    def upload(self, *parts: tuple[str, int]) -> Steps:
        """Send one message of one or more (kind, bytes) parts to the server; latency is paid once, by the first."""
        yield from self._send("uplink", self._up, parts)

    def download(self, *parts: tuple[str, int]) -> Steps:
        """Receive one message of one or more (kind, bytes) parts from the server."""
        yield from self._send("downlink", self._down, parts)

    def serve(self, kind: str, seconds: float) -> Steps:
        """Wait for the server's turn, then let it work `seconds` for this client."""
        mine = _Service()
        job = self.world.server.serve(seconds, tag=mine)
        yield job
        if job.started_s > self._ended_s:
            self._write("server_wait", "idle", end_s=job.started_s)
        if isinstance(job.cause, _Service):
            self.last_span = job.cause.span_id  # whoever left the slot is why this one could begin
        self._write(kind, "server")
        mine.span_id = self.last_span

    def wait_until_now(self, kind: str) -> None:
        """Write down that the client has done nothing since its last span."""
        self._write(kind, "idle")

    def _send(self, actor: str, route: Sequence[Link], parts: Sequence[tuple[str, int]]) -> Steps:
        latency_s = self._latency_s
        for kind, num_bytes in parts:
            if num_bytes == 0:
                continue  # nothing is sent
            yield self.world.network.send(route, num_bytes, latency_s)
            self._write(kind, actor, num_bytes=num_bytes)
            latency_s = 0.0

    def _write(self, kind: str, actor: str, *, end_s: float | None = None, num_bytes: int = 0) -> None:
        start_s, self._ended_s = self._ended_s, self.world.env.now if end_s is None else end_s
        self.seconds[kind] = self.seconds.get(kind, 0.0) + (self._ended_s - start_s)
        self.num_bytes[kind] = self.num_bytes.get(kind, 0) + num_bytes
        self.last_span = self.world.spans.add(
            kind, actor, self.client, self.round, self.step, start_s, self._ended_s, num_bytes, self.last_span
        )
