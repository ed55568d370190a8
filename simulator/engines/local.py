"""Cases on this machine, in processes that are started once and run one case after another.

A worker is a command that reads the ids of cases from its standard input, one a line, and writes `News` to its standard
output, one JSON object a line. Nothing is shared but files. When the standard input ends the worker goes, whatever it
is doing: so none outlives this process, however it ends.
"""

import json
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, cast

from simulator.engines.news import News

GRACE_S = 5.0  # for a worker that is asked to stop to write down how far it is
THREADS_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of workers: one thread for each, unless it says how many; none spins while it waits."""
    threads = {} if any(environment.get(name) for name in THREADS_VARIABLES) else {"OMP_NUM_THREADS": "1"}
    return {"OMP_WAIT_POLICY": "PASSIVE", **environment, **threads}


class LocalEngine:
    """Runs cases in workers.

    Args:
        command: starts a worker.
        jobs: so many work at the same time.
        environment: of the workers.
        working_folder: of the workers.
        logs: folder for what workers write to standard error; made when needed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        jobs: int,
        environment: Mapping[str, str],
        working_folder: Path,
        logs: Path,
    ) -> None:
        self._command, self._jobs, self._logs = command, jobs, logs
        self._environment, self._working_folder = environment, working_folder
        self._told: queue.SimpleQueue[tuple[_Worker, str | None]] = queue.SimpleQueue()
        self._num_started = 0

    def run(self, cases: Sequence[str]) -> Generator[News]:
        """Run cases and tell of them; see `Engine`."""
        todo, workers = deque(cases), list[_Worker]()
        try:
            while True:
                while todo and len(workers) < self._jobs:
                    workers.append(self._start())
                    workers[-1].begin(todo.popleft())
                if not workers:
                    return
                worker, line = self._told.get()
                if line is None:
                    workers.remove(worker)
                    lost = worker.case
                    worker.wait()
                    if lost is not None:
                        yield News(case=lost, kind="failed", error=worker.cause_of_death())
                    continue
                news = News(**json.loads(line))
                yield news
                if news.kind in {"finished", "failed"}:
                    worker.begin(todo.popleft() if todo else None)
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.wait()
            self._remove_empty_logs()

    def _start(self) -> "_Worker":
        self._num_started += 1
        self._logs.mkdir(exist_ok=True)
        log = self._logs / f"worker-{self._num_started:03d}.log"
        return _Worker(self._command, self._environment, self._working_folder, log, self._told)

    def _remove_empty_logs(self) -> None:
        for log in self._logs.glob("worker-*.log"):
            if log.stat().st_size == 0:
                log.unlink()
        if self._logs.is_dir() and not any(self._logs.iterdir()):
            self._logs.rmdir()


class _Worker:
    """One process.

    Attributes:
        case: what it is at; None while it waits.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        working_folder: Path,
        log: Path,
        told: "queue.SimpleQueue[tuple[_Worker, str | None]]",
    ) -> None:
        self.case: str | None = None
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603 -- our own command
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(environment),
                cwd=working_folder,
                text=True,
                encoding="utf-8",
            )
        threading.Thread(target=self._listen, args=(told,), daemon=True).start()

    def begin(self, case: str | None) -> None:
        """Let it run a case; without one it ends."""
        self.case = case
        stdin = cast("IO[str]", self._process.stdin)
        try:
            if case is None:
                stdin.close()
            else:
                stdin.write(f"{case}\n")
                stdin.flush()
        except BrokenPipeError:
            pass  # it has gone: what it was to do fails when that is heard

    def stop(self) -> None:
        """Ask it to stop, if it is at work."""
        if self._process.poll() is None:
            self._process.terminate() if self.case is not None else self.begin(None)

    def wait(self) -> None:
        """Wait until it has gone; end it where it does not go."""
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        cast("IO[str]", self._process.stdout).close()
        self.begin(None)

    def cause_of_death(self) -> str:
        """Return why a worker has gone in the middle of a case."""
        code = self._process.wait()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        hint = ": too little memory?" if name == "SIGKILL" else ""
        return f"the process that ran this case ended by {name}{hint}; see {os.path.relpath(self._log)}"

    def _listen(self, told: "queue.SimpleQueue[tuple[_Worker, str | None]]") -> None:
        try:
            for line in cast("IO[str]", self._process.stdout):
                told.put((self, line))
        except ValueError:
            return  # closed: nobody listens any more
        told.put((self, None))


def line_of(news: News) -> str:
    """Return what a worker writes to tell of a case."""
    return json.dumps(asdict(news), ensure_ascii=False) + "\n"
