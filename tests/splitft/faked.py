"""Whole runs in a fraction of a second: everything is real but the numbers that are learned."""

import functools
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulator.setting import Setting, resolve
from tests.simulator.fake_worker import FakeWorker

if TYPE_CHECKING:
    from workloads.tasks import Task

VOLATILE = "run.json"  # says how long it took and how much was remembered


@functools.cache
def _resolved(scenario_yaml: str) -> Setting:
    from devices.strict_yaml import parse_document
    from simulator.scenario import Scenario

    return resolve(Scenario.from_mapping(parse_document(scenario_yaml, "scenario").data))


def resolve_once(scenario: Any, **_: object) -> Setting:
    """Return what `resolve` makes of a scenario, made once for all tests."""
    import dataclasses

    from simulator.scenario import to_yaml

    return dataclasses.replace(_resolved(to_yaml(scenario)), scenario=scenario)


class InlinePool:
    """Does jobs at once, so that a test knows what has been written when."""

    def __init__(self, **_: object) -> None:
        self.closed = False

    def submit(self, job: Callable[..., None], *args: object) -> "Future[None]":
        done: Future[None] = Future()
        job(*args)
        done.set_result(None)
        return done

    def shutdown(self, *, wait: bool) -> None:
        self.closed = wait


class Faked:
    """Runs with fake workers.

    Attributes:
        workers: every worker that was made.
        on_task: called before a task is computed.
    """

    def __init__(self) -> None:
        self.workers: list[FakeWorker] = []
        self.on_task: Callable[[Task], None] = lambda _task: None

    @property
    def num_done(self) -> int:
        return sum(len(worker.done) for worker in self.workers)

    def make_worker(self, *_: object) -> FakeWorker:
        self.workers.append(FakeWorker(lambda task: self.on_task(task)))  # noqa: PLW0108 -- as it is set then
        return self.workers[-1]


def fake(monkeypatch: pytest.MonkeyPatch, *, inline: bool = True) -> Faked:
    """Replace what takes long in a run: torch, resolving the same scenario again, pictures."""
    faked = Faked()
    monkeypatch.setattr("splitft.work.make_worker", faked.make_worker)
    monkeypatch.setattr("splitft.api.resolve", resolve_once)
    monkeypatch.setattr("splitft.api._save_plots", lambda *_: None)
    if inline:
        monkeypatch.setattr("simulator.learning.background.ThreadPoolExecutor", InlinePool)
    return faked


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a run folder that are the same for the same run; temporary and lock files too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != VOLATILE)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
