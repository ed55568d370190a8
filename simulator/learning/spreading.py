"""A worker that spreads its tasks over others, the *hands*, each in a process of its own; a *crew* leads to them.

A unit of training goes to one hand; so do an aggregation and an evaluation. A hand holds what it has trained, so that a
client's moments stay where they are. The crew has every state as well, in its serialised form: a hand that needs one
that another has made is given it from there, and a hand that is lost costs only what it was at, which another computes
again. Tasks are pure, so who computes what, and in which order, changes no result.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from simulator.engines.lost import LostError
from simulator.learning.trainer import Worker
from simulator.learning.units import Unit, unit_inputs, unit_name
from workloads.results import SavedState
from workloads.tasks import AggregateTask, EvalResult, EvalTask, InitialTask, Task, TrainResult, TrainTask

Reports = Sequence[Any]
"""What the tasks of a unit report: TrainResults or EvalResults; nothing where a unit only makes a state."""

Place = Any
"""Where a crew has a state; only the crew knows what that is."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a hand is to do.

    Attributes:
        unit: what it computes.
        spent: states that the training forgets once it has used them; see `Worker.train`.
        holds: keys of the states that the hand goes on holding; it forgets all others first.
        given: keys of the states that come with the job.
    """

    unit: Unit
    spent: tuple[str, ...]
    holds: tuple[str, ...]
    given: tuple[str, ...]

    @property
    def makes(self) -> tuple[str, ...]:
        """Return the keys of the states that it makes."""
        return tuple(task.key for task in self.unit if not isinstance(task, EvalTask))

    @property
    def uses_up(self) -> tuple[str, ...]:
        """Return the keys of the states that nobody needs any more once it is done."""
        return tuple(moments for moments in _moments(self.unit) if moments in self.spent)

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return the keys of the states that the hand holds once it is done.

        What was given for a training stays: others of the round start from it. What was given to aggregate or to
        evaluate is another hand's, and goes.
        """
        given = self.given if isinstance(self.unit[0], TrainTask) else ()
        used_up = set(self.uses_up)
        return tuple(key for key in dict.fromkeys((*self.holds, *given, *self.makes)) if key not in used_up)


@dataclass(frozen=True, kw_only=True)
class Done:
    """A hand has done its job, and has left with the crew the states that this makes, in their order."""

    hand: int
    reports: Reports
    states: Sequence[Place]


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A hand is not there any more, and so not what it was at."""

    hand: int
    why: str


class Crew(Protocol):
    """Leads to the hands, and has the states.

    Attributes:
        hands: their numbers.
    """

    hands: Sequence[int]

    def keep(self, state: bytes) -> Place:
        """Have a state."""

    def fetch(self, place: Place) -> bytes:
        """Return a state.

        Raises:
            LostError: it is lost.
        """

    def begin(self, hand: int, job: Job, states: Sequence[Place]) -> None:
        """Have a hand that is idle begin a job, with the states that it is given."""

    def wait(self) -> Done | Lost:
        """Return what comes of the next job that ends; what a task raises is raised.

        Raises:
            LostError: a state that the job was given is lost.
        """


class Hand:
    """Does jobs, one after another, in a process of its own.

    Args:
        worker: who computes.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def do(self, job: Job, states: Sequence[bytes]) -> tuple[Reports, list[bytes]]:
        """Return what a job's tasks report, and the states that they make, in the order of `Job.makes`."""
        self._worker.release(job.holds)
        for key, state in zip(job.given, states, strict=True):
            self._worker.put(key, SavedState.from_bytes(state))
        reports = self._compute(job)
        made = [self._worker.get(key).to_bytes() for key in job.makes]
        self._worker.release(job.leaves)
        return reports, made

    def _compute(self, job: Job) -> Reports:
        training = [task for task in job.unit if isinstance(task, TrainTask)]
        if training:
            return self._worker.train(training, lambda _result: None, job.spent)
        [task] = job.unit
        if isinstance(task, EvalTask):
            return self._worker.evaluate([task])
        if isinstance(task, AggregateTask):
            self._worker.aggregate(task)
        elif isinstance(task, InitialTask):
            self._worker.initial(task)
        return ()


class SpreadWorker:
    """Computes tasks by the hands of a crew; else a `Worker` as others.

    Args:
        crew: with one hand at least.
        on_step: called with a number of training steps when a unit is done.
        on_note: called with a sentence that a user should read.
    """

    def __init__(
        self,
        crew: Crew,
        *,
        on_step: Callable[[int], None] = lambda _num_steps: None,
        on_note: Callable[[str], None] = lambda _note: None,
    ) -> None:
        self._crew, self._on_step, self._on_note = crew, on_step, on_note
        self._states: dict[str, Place] = {}
        self._held: dict[int, dict[str, None]] = {hand: {} for hand in crew.hands}  # keys of each hand's states

    def initial(self, task: InitialTask) -> str:
        """Make the first global adapter and return its key."""
        return self._make(task)

    def aggregate(self, task: AggregateTask) -> str:
        """Make the next global adapter and return its key; one hand is given all that clients have trained."""
        return self._make(task)

    def train(
        self, tasks: Sequence[TrainTask], on_result: Callable[[TrainResult], None], spent: Collection[str] = ()
    ) -> list[TrainResult]:
        """Train the units of a round at the same time; see `Worker.train`."""
        units: dict[str, dict[str, TrainTask]] = {}
        for task in tasks:
            units.setdefault(unit_name(task), {})[task.key] = task
        results = dict[str, TrainResult]()
        for unit, reports in self._spread([tuple(unit.values()) for unit in units.values()], spent):
            self._on_step(sum(len(task.batches) for task in unit if isinstance(task, TrainTask)))
            for result in reports:
                results[result.key] = result
                on_result(result)
        return [results[task.key] for task in tasks]

    def evaluate(self, tasks: Sequence[EvalTask]) -> list[EvalResult]:
        """Measure adapters at the same time, each where it is where possible."""
        different = {task.key: (task,) for task in tasks}
        results = {result.key: result for _, reports in self._spread([*different.values()]) for result in reports}
        return [results[task.key] for task in tasks]

    def get(self, key: str) -> SavedState:
        """Return a state that is held."""
        return SavedState.from_bytes(self._crew.fetch(self._states[key]))

    def put(self, key: str, state: SavedState) -> None:
        """Hold a state under a key; hands are given it when they need it."""
        self._states[key] = self._crew.keep(state.to_bytes())

    def release(self, live: Iterable[str]) -> None:
        """Forget every state but those named; a hand does so when it begins its next job."""
        self._states = {key: self._states[key] for key in dict.fromkeys(live)}

    def _make(self, task: Task) -> str:
        for _ in self._spread([(task,)]):
            pass
        return task.key

    def _spread(self, units: Sequence[Unit], spent: Collection[str] = ()) -> Iterator[tuple[Unit, Reports]]:
        """Have units computed, and yield each with what it reports as soon as that is known."""
        queues: dict[int | None, deque[Unit]] = {hand: deque() for hand in (None, *self._held)}
        for unit in units:
            queues[self._home(unit)].append(unit)
        at_work: dict[int, Job] = {}
        done = None
        while True:
            self._hand_out(queues, at_work, spent)  # first, so that no hand is idle while somebody takes a result in
            if done is not None:
                yield done
            if not at_work:
                return
            done = self._next_done(queues, at_work)

    def _hand_out(
        self, queues: Mapping[int | None, deque[Unit]], at_work: dict[int, Job], spent: Collection[str]
    ) -> None:
        """Give every idle hand the next unit of its own, else one that is nobody's, else one of who has most left."""
        idle = [hand for hand in self._held if hand not in at_work]
        for hand in sorted(idle, key=lambda hand: not queues[hand]):
            queue = queues[hand] or queues[None] or max(queues.values(), key=len)
            if queue:
                at_work[hand] = self._begin(hand, queue.popleft(), spent)

    def _begin(self, hand: int, unit: Unit, spent: Collection[str]) -> Job:
        held = {key: None for key in self._held[hand] if key in self._states}
        given = [key for key in unit_inputs(unit) if key not in held]
        own_spent = [key for key in spent if key in held or key in given]
        job = Job(unit=unit, spent=tuple(own_spent), holds=tuple(held), given=tuple(given))
        self._crew.begin(hand, job, [self._states[key] for key in given])
        return job

    def _next_done(
        self, queues: Mapping[int | None, deque[Unit]], at_work: dict[int, Job]
    ) -> tuple[Unit, Reports] | None:
        """Wait for a hand; return the unit that it has done, or None where it is lost and another has to do it."""
        news = self._crew.wait()
        job = at_work.pop(news.hand)
        if isinstance(news, Lost):
            del self._held[news.hand]
            if not self._held:
                raise LostError(f"no worker is left; the last one is lost: {news.why}")
            self._on_note(f"a worker is lost ({news.why}); what it was at is computed by the {len(self._held)} left")
            queues[None].append(job.unit)
            return None
        self._held[news.hand] = dict.fromkeys(job.leaves)
        self._states |= zip(job.makes, news.states, strict=True)
        for key in job.uses_up:
            self._states.pop(key, None)
        return job.unit, news.reports

    def _home(self, unit: Unit) -> int | None:
        """Return the hand that has most of what a unit alone needs; None where no hand has any of it."""
        counts = Counter(hand for key in _own_inputs(unit) for hand, held in self._held.items() if key in held)
        return max(counts, key=counts.__getitem__, default=None)


def _own_inputs(unit: Unit) -> list[str]:
    """Return the keys of what a unit starts from and no other of its kind: not the adapter that a round starts from."""
    adapters = [task.adapter for task in unit if isinstance(task, EvalTask)]
    updates = [key for task in unit if isinstance(task, AggregateTask) for key in task.updates]
    return [*_moments(unit), *adapters, *updates]


def _moments(unit: Unit) -> list[str]:
    return [task.moments for task in unit if isinstance(task, TrainTask) and task.moments is not None]
