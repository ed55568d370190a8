"""Cases as tasks of a Ray cluster (https://docs.ray.io): RAY_ADDRESS names it; without one Ray is started here.

Every machine of the cluster has splitft installed and sees the study's folder under the same path. Results are those of
the local engine: a case is the same work wherever it is done, and the machine's numerics id is in its run.json.
"""

import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from devices.problems import InputError, Problem
from simulator.engines.news import News

ADDRESS_VARIABLE = "RAY_ADDRESS"
PATIENCE_S = 5.0  # with a cluster that does not answer
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
        ray = _connected(self._jobs, self._environment)
        attempt, at_work = self._attempt, dict[Any, str]()

        def work(case: str) -> News:
            return attempt(case)

        try:
            # A task that dies with its machine is not tried again: the case is told to have failed, and is kept.
            task = ray.remote(num_cpus=1, num_gpus=self._num_gpus, max_retries=0)(work)
            todo = deque(cases)
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
            ray.shutdown()


def _outcome(ray: Any, done: Any, case: str) -> News:
    try:
        news: News = ray.get(done)
    except ray.exceptions.RayError as error:  # its process, or its machine, has gone
        first = str(error).partition("\n")[0]
        return News(case=case, kind="failed", error=f"{type(error).__name__}: {first}")
    return news


def _knock(address: str | None) -> None:
    """Raise OSError where nobody listens at an address: Ray itself would end this process."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()


def _connected(jobs: int | None, environment: Mapping[str, str]) -> Any:
    """Return Ray's module, connected to the cluster that the user names, or to one of this machine alone."""
    try:
        import ray  # noqa: PLC0415 -- an optional extra, which takes a second to load
    except ImportError:
        raise InputError(
            Problem("Ray is not installed here: pip install 'splitft[ray]', or --engine local", key="--engine")
        ) from None
    address = os.environ.get(ADDRESS_VARIABLE)
    alone = {"num_cpus": jobs, "include_dashboard": False} if address is None else {"address": address}
    try:
        _knock(address)
        ray.init(
            **alone,
            runtime_env={"env_vars": dict(environment)},
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        message = f"the Ray cluster {address or 'of this machine'} cannot be reached: {reason}"
        raise InputError(Problem(message, key=ADDRESS_VARIABLE, value=address)) from None
    return ray
