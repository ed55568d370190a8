"""Hands in a real Ray cluster of this machine, with workers that need no torch."""

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from devices.problems import InputError, Problem
from simulator.engines.lost import LostError
from simulator.engines.ray_crew import Demand, hired
from simulator.learning.remembering import RememberingTrainer
from simulator.learning.spreading import SpreadWorker
from tests.simulator.fake_worker import FakeWorker, write_values
from tests.simulator.learning.test_remembering import Rounds
from workloads.tasks import Task, TrainTask

ROOT = Path(__file__).parents[3]
COHORTS = [[0, 1, 2, 3], [1, 2, 3]]
TWO = Demand(jobs=2, max_useful=4, num_threads=1, uses_gpu=False, num_cores=2)


def environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


def make(on_task: object = None) -> tuple[FakeWorker, tuple[str, ...]]:
    return FakeWorker() if on_task is None else FakeWorker(on_task), ("this is a test",)


def die_once(marker: Path, task: Task) -> None:
    """Kill the process that trains, unless one has been killed before."""
    if isinstance(task, TrainTask) and task.moments is not None:
        with suppress(FileExistsError):
            marker.touch(exist_ok=False)  # by one process alone
            os.kill(os.getpid(), signal.SIGKILL)


def die(task: Task) -> None:
    if isinstance(task, TrainTask):
        os.kill(os.getpid(), signal.SIGKILL)


def fail(task: Task) -> None:
    if isinstance(task, TrainTask):
        raise OSError("no luck")


def refuse() -> None:
    raise InputError(Problem("a worker on this host would compute other numbers", key="--engine"))


def test_a_cluster_is_asked_for_no_more_than_it_has_room_for() -> None:
    def demand(jobs: int | None, threads: int = 1, *, gpu: bool = False) -> Demand:
        return Demand(jobs=jobs, max_useful=5, num_threads=threads, uses_gpu=gpu, num_cores=6)

    eight = {"CPU": 8.0, "GPU": 2.0}
    assert demand(3).num_hands(eight) == 3
    assert demand(None).num_hands(eight) == 5  # a round has no more clients
    assert demand(None, 2).num_hands(eight) == 4
    assert demand(None, gpu=True).num_hands(eight) == 2
    with pytest.raises(
        InputError, match="--jobs: the Ray cluster has room for 2 workers that take 1 CPU and 1 GPU each"
    ):
        demand(3, gpu=True).num_hands(eight)
    with pytest.raises(InputError, match="has room for 0 workers that take 16 CPU each, 1 are asked for"):
        demand(None, 16).num_hands(eight)
    # Alone on this machine: a core for each thread, or as many as are asked for; of GPUs Ray says how many there are.
    assert [demand(jobs, 4).num_cpus_alone for jobs in (None, 3)] == [4, 12]
    assert demand(None, gpu=True).num_cpus_alone is None


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'splitft\[ray\]'"), hired(make, TWO, {}, print):
        pass


@pytest.mark.slow
class TestWithRay:
    @pytest.fixture(autouse=True)
    def _needs_ray(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("ray", reason="an optional extra", exc_type=ImportError)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def run(self, maker: object, notes: list[str]) -> list[object]:
        with hired(maker, TWO, environment(), notes.append) as crew:
            trainer = RememberingTrainer([], lambda: SpreadWorker(crew, on_note=notes.append), write_values)
            return Rounds(trainer, together=True).run(COHORTS)

    def test_results_are_those_of_one_worker_also_where_one_is_killed(self, tmp_path: Path) -> None:
        expected = Rounds(RememberingTrainer([], FakeWorker, write_values), together=True).run(COHORTS)
        notes: list[str] = []
        assert self.run(make, notes) == expected
        assert notes == ["this is a test"]
        handler = signal.getsignal(signal.SIGTERM)
        assert self.run(partial(make, partial(die_once, tmp_path / "killed")), notes) == expected
        assert signal.getsignal(signal.SIGTERM) == handler
        assert (tmp_path / "killed").exists()
        assert notes[2].startswith("a worker is lost (ActorDiedError: ")
        assert notes[2].endswith("what it was at is computed by the 1 left")

    def test_where_all_are_killed_the_run_ends(self) -> None:
        with pytest.raises(LostError, match="no worker is left; the last one is lost: ActorDiedError"):
            self.run(partial(make, die), [])

    def test_what_a_task_or_a_worker_raises_is_raised_here(self) -> None:
        with pytest.raises(OSError, match=r"^no luck$"):
            self.run(partial(make, fail), [])
        with pytest.raises(InputError, match=r"^--engine: a worker on this host would compute other numbers$"):
            self.run(refuse, [])
