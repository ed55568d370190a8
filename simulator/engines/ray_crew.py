"""The hands of `simulator.learning.spreading` as actors of a Ray cluster (`simulator.engines.cluster`).

States are in Ray's object store, as bytes, owned by the process that runs the simulation: they outlive the actor that
has made them, though not its machine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from devices.problems import InputError, Problem
from simulator.engines.cluster import connected, first_line
from simulator.engines.lost import LostError
from simulator.learning.spreading import Done, Hand, Job, Lost
from simulator.learning.trainer import Worker

PATIENCE_S = 30.0  # until a user is told that hands are still awaited

Notes = Sequence[str]
MakeWorker = Callable[[], tuple[Worker, Notes]]
"""Makes who computes, in the actor's own process, and says what a user should know of how."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What hands are asked for.

    Attributes:
        jobs: so many; None: as many as there is room for.
        max_useful: more than so many would have nothing to do.
        num_threads: that each computes with; it takes as many CPUs.
        uses_gpu: whether each takes a GPU as well.
        num_cores: of this machine, where Ray is started on it alone.
    """

    jobs: int | None
    max_useful: int
    num_threads: int
    uses_gpu: bool
    num_cores: int

    @property
    def num_cpus_alone(self) -> int | None:
        """Return how many CPUs Ray may take where it is started on this machine; None: all."""
        if self.uses_gpu:
            return None
        return self.num_threads * (self.jobs or max(1, self.num_cores // self.num_threads))

    def num_hands(self, resources: Mapping[str, float]) -> int:
        """Return how many hands there are to be in a cluster.

        Raises:
            InputError: it has no room for as many as are asked for, or for a single one.
        """
        needs = {"CPU": self.num_threads, **({"GPU": 1} if self.uses_gpu else {})}
        room = min(int(resources.get(kind, 0) // number) for kind, number in needs.items())
        wanted = self.jobs or 1
        if wanted > room:
            each = " and ".join(f"{number} {kind}" for kind, number in needs.items())
            message = f"the Ray cluster has room for {room} workers that take {each} each, {wanted} are asked for"
            raise InputError(Problem(message, key="--jobs", value=self.jobs))
        return self.jobs or min(room, self.max_useful)


@contextmanager
def hired(
    make: MakeWorker, demand: Demand, environment: Mapping[str, str], on_note: Callable[[str], None]
) -> Iterator["RayCrew"]:
    """Let hands work in a Ray cluster; when this ends, none of them is left.

    Args:
        make: makes who computes; a function of a module, or a partial of one.
        demand: how many, and with what.
        environment: variables that they get besides their machine's own.
        on_note: called with a sentence that a user should read.

    Raises:
        InputError: Ray is not installed, the cluster cannot be reached or has no room, or a machine cannot compute
            what it would have to.
        LostError: a hand has died before it could begin.
    """
    with connected(num_cpus=demand.num_cpus_alone, environment=environment) as ray:
        crew = RayCrew(ray, demand)
        crew.prepare(make, on_note)
        yield crew


class RayCrew:
    """Leads to hands that are Ray actors; see `simulator.learning.spreading.Crew`.

    Args:
        ray: the module, connected.
        demand: how many hands, and with what.
    """

    def __init__(self, ray: Any, demand: Demand) -> None:
        self._ray = ray
        # An actor that dies is not started again: the others go on.
        actor = ray.remote(
            num_cpus=demand.num_threads, num_gpus=int(demand.uses_gpu), max_restarts=0, max_task_retries=0
        )(_Station)
        self._stations = [actor.remote() for _ in range(demand.num_hands(ray.cluster_resources()))]
        self.hands: Sequence[int] = range(len(self._stations))
        self._at_work: dict[Any, tuple[int, Sequence[Any]]] = {}  # by what is awaited of each

    def prepare(self, make: MakeWorker, on_note: Callable[[str], None]) -> None:
        """Make the workers; tell, once each, what is to be known of them."""
        ready = [station.begin.remote(make) for station in self._stations]
        done, awaited = self._ray.wait(ready, num_returns=len(ready), timeout=PATIENCE_S)
        if awaited:
            on_note(
                f"{len(done)} of {len(ready)} workers are ready; the others wait for room in the cluster, or load "
                "the model"
            )
        notes: dict[str, None] = {}
        for begun in ready:
            try:
                notes |= dict.fromkeys(self._ray.get(begun))
            except self._ray.exceptions.RayError as error:
                self._raise(error)
        for note in notes:
            on_note(note)

    def keep(self, state: bytes) -> Any:
        """Put a state into the object store."""
        return self._ray.put(state)

    def fetch(self, place: Any) -> bytes:
        """Return a state from the object store, of whichever machine.

        Raises:
            LostError: it is lost with its machine.
        """
        try:
            state: bytes = self._ray.get(place)
        except self._ray.exceptions.RayError as error:
            self._raise(error)
        return state

    def begin(self, hand: int, job: Job, states: Sequence[Any]) -> None:
        """Have an actor begin a job; Ray brings it the states."""
        work = self._stations[hand].do.options(num_returns=1 + len(job.makes))
        if job.makes:
            reports, *made = work.remote(job, *states)
        else:
            reports, made = work.remote(job, *states), []
        self._at_work[reports] = hand, made

    def wait(self) -> Done | Lost:
        """Return what comes of the next job that ends.

        Raises:
            LostError: a state that it was given is lost with its machine.
        """
        [first], _ = self._ray.wait(list(self._at_work), num_returns=1)
        hand, states = self._at_work.pop(first)
        try:
            return Done(hand=hand, reports=self._ray.get(first), states=states)
        except self._ray.exceptions.RayActorError as error:
            self._ray.kill(self._stations[hand])  # where it only cannot be reached
            return Lost(hand=hand, why=first_line(error))
        except self._ray.exceptions.RayError as error:
            self._raise(error)

    def _raise(self, error: Any) -> NoReturn:
        """Raise what was raised in an actor, as it would be here; else what Ray says."""
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception) and not isinstance(cause, self._ray.exceptions.RayError):
            raise cause from error
        raise LostError(f"work is lost with its process or machine: {first_line(error)}") from error


class _Station:
    """Where a hand works: the process of an actor."""

    def begin(self, make: MakeWorker) -> Notes:
        """Make who computes."""
        worker, notes = make()
        self._hand = Hand(worker)
        return notes

    def do(self, job: Job, *states: bytes) -> Any:
        """Return what a job's tasks report and, where it makes any, the states, each as an object of its own."""
        reports, made = self._hand.do(job, states)
        return (reports, *made) if made else reports
