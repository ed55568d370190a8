"""Small jobs done beside the training, one after another."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec

P = ParamSpec("P")

MAX_WAITING = 8  # jobs; each may hold a state, and a slow disk must not let them pile up


class Background:
    """A thread that does jobs in the order in which they come. Writing and hashing leave the interpreter to others."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="splitft-background")
        self._waiting: deque[Future[None]] = deque()

    def do(self, job: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Let a job be done soon; wait where too many are waiting, and raise what an earlier one has raised."""
        self._waiting.append(self._pool.submit(job, *args, **kwargs))
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > MAX_WAITING):
            self._waiting.popleft().result()

    def close(self) -> None:
        """Wait until every job is done; raise what one has raised."""
        self._pool.shutdown(wait=True)
        while self._waiting:
            self._waiting.popleft().result()
