"""What goes on for a participant beside its own work: messages under way, and the server at work for it meanwhile."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import simpy

from simulator.clock.server import Job
from simulator.clock.world import Participant, Service, Steps
from simulator.network.fluid import Link, Transfer
from simulator.records.runs import SERVER_CLIENT

NOTHING = ("", "", None)


@dataclass(kw_only=True)
class Lane(Participant):
    """One thing after another, at the same time as its participant's own work, and stopped with it.

    Its messages use the participant's own connection and are the participant's spans. The server's work is a span of
    the server's own, since the participant does not wait for it; its cause says whose it is. Where nothing goes on in
    the lane nothing is written down.

    Args:
        main: the participant.
    """

    main: Participant

    def __post_init__(self) -> None:
        """Use the participant's own connection, and do nothing yet."""
        super().__post_init__()
        self._up, self._down = self.main.routes
        self._doing = NOTHING

    @classmethod
    def of(cls, main: Participant) -> "Lane":
        """Return a new lane of a participant, at its present step."""
        lane = cls(
            world=main.world,
            client=main.client,
            round=main.round,
            seconds=main.seconds,
            num_bytes=main.num_bytes,
            last_span=main.last_span,
            step=main.step,
            main=main,
        )
        main.lanes = [*(other for other in main.lanes if other.status is None), lane]
        return lane

    def after(self, event: simpy.Event) -> Steps:
        """Wait for what somebody hands over: an event whose value is the span that led to it."""
        yield event
        self.last_span = event.value

    def serve(self, kind: str, seconds: float, *, priority: float = 0.0, **_: object) -> Steps:
        """Wait for the server's turn, then let it work `seconds`."""
        job = self.world.server.serve(self.serving_s(kind, seconds), priority, tag=Service())
        job.callbacks.append(partial(self._write_job, kind, self.step, self.last_span))
        self._doing = kind, "server", job
        yield job
        self._doing = NOTHING

    def _write_job(self, kind: str, step: int, cause: int, job: Job) -> None:
        """Write down what the server has done; nothing for who was gone before its turn."""
        if math.isnan(job.started_s):
            return
        if isinstance(job.cause, Service):
            cause = job.cause.span_id  # whoever left the slot is why this one could begin
        assert isinstance(job.tag, Service)
        start_s, end_s = job.started_s, self.world.env.now
        self.last_span = job.tag.span_id = self.world.spans.add(
            kind, "server", SERVER_CLIENT, self.round, step, start_s, end_s, 0, cause
        )
        if self.status is None:
            self.seconds[kind] = self.seconds.get(kind, 0.0) + (end_s - start_s)

    def _send(self, actor: str, route: Sequence[Link], parts: Sequence[tuple[str, int]]) -> Steps:
        self._written_s = self.world.env.now
        yield from super()._send(actor, route, parts)
        self._doing = NOTHING

    def charge(self, kind: str, actor: str, seconds: float) -> float | None:  # noqa: ARG002
        """Make the participant's energy unknown: powers are those of a device that does one thing at a time."""
        self.main.energy_j = None
        return None

    def _break_off(self) -> None:
        """Give up what is under way; a step that the server has begun it ends for nobody."""
        match self._doing:
            case kind, actor, Transfer() as transfer:
                transfer.cancel()
                self._write(kind, actor, num_bytes=round(transfer.value))
            case _, _, Job() as job if math.isnan(job.started_s):
                job.cancel()
