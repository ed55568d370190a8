"""Cases as tasks of a Ray cluster (`simulator.engines.cluster`).

Results are those of the local engine: a case is the same work wherever it is done, and the machine's numerics id is in
its run.json.
"""

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from simulator.engines.cluster import connected, first_line
from simulator.engines.news import News

GRACE_S = 5.0  # for cases that are asked to stop to write down how far they are


class RayEngine:
    """Runs cases as Ray tasks.

    Args:
        attempt: runs a case, given by its id, and returns how that went; a function of a module, or a partial of one.
        jobs: at most so many cases at the same time; None: as many as the cluster has room for.
        num_gpus: that a case takes.
        environment: variables that workers need besides their machine's own.
    """

    def __init__(
        self, attempt: Callable[[str], News], *, jobs: int | None, num_gpus: int, environment: Mapping[str, str]
    ) -> None:
        self._attempt, self._jobs, self._num_gpus = attempt, jobs, num_gpus
        self._environment = dict(environment)

    def run(self, cases: Sequence[str]) -> Generator[News]:
        """Run cases and tell of them; see `Engine`.

        Raises:
            InputError: Ray is not installed, or the cluster cannot be reached.
        """
        with connected(num_cpus=self._jobs, environment=self._environment) as ray:
            yield from self._run(ray, cases)

    def _run(self, ray: Any, cases: Sequence[str]) -> Generator[News]:
        attempt, at_work = self._attempt, dict[Any, str]()

        def work(case: str) -> News:
            return attempt(case)

        # A task that dies with its machine is not tried again: the case is told to have failed, and is kept.
        task = ray.remote(num_cpus=1, num_gpus=self._num_gpus, max_retries=0)(work)
        todo = deque(cases)
        try:
            while todo or at_work:
                while todo and len(at_work) < (self._jobs or len(cases)):
                    case = todo.popleft()
                    at_work[task.remote(case)] = case
                    yield News(case=case, kind="begun")
                [done], _ = ray.wait(list(at_work))
                yield _outcome(ray, done, at_work.pop(done))
        finally:
            for unfinished in at_work:
                ray.cancel(unfinished)  # as Ctrl-C would
            if at_work:
                ray.wait(list(at_work), num_returns=len(at_work), timeout=GRACE_S)


def _outcome(ray: Any, done: Any, case: str) -> News:
    try:
        news: News = ray.get(done)
    except ray.exceptions.RayError as error:  # its process, or its machine, has gone
        return News(case=case, kind="failed", error=first_line(error))
    return news
