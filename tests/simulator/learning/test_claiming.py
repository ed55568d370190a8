"""Runs that ask for the same at the same time have it done once."""

import threading
from pathlib import Path

import pytest

from simulator.learning.claiming import share
from simulator.learning.remembering import RememberingTrainer
from tests.simulator.fake_worker import FakeWorker, write_values
from tests.simulator.learning.test_remembering import Rounds
from workloads.claims import claim
from workloads.store import ResultStore
from workloads.tasks import TrainTask

COHORTS = ((0, 1, 2, 3), (0, 1, 2), (1, 2, 3))


def sharing_trainer(folder: Path, worker: FakeWorker) -> RememberingTrainer:
    store = ResultStore(folder)
    return RememberingTrainer([store], lambda: worker, write_values, store)


def at_once(*jobs):
    errors = []

    def guarded(job):
        try:
            job()
        except BaseException as error:  # noqa: BLE001 -- raised below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("together", [False, True], ids=["alone", "in groups"])
def test_equal_runs_at_the_same_time_compute_every_task_once(tmp_path, together):
    alone = FakeWorker()
    expected = Rounds(RememberingTrainer([], lambda: alone, write_values), together=together).run(COHORTS)
    meet = threading.Barrier(3)
    workers = [FakeWorker() for _ in range(3)]
    said = {}

    def run(number):
        rounds = Rounds(sharing_trainer(tmp_path, workers[number]), together=together)
        meet.wait()
        said[number] = rounds.run(COHORTS)

    at_once(*(lambda number=number: run(number) for number in range(3)))
    done = [task.key for worker in workers for task in worker.done]
    assert sorted(done) == sorted(set(done)) == sorted({task.key for task in alone.done})
    assert all(results == expected for results in said.values())


def test_runs_divide_the_clients_of_a_round_between_them(tmp_path):
    """Each is held up in its first training until the other has begun one as well: neither does the whole round."""
    both_train = threading.Barrier(2, timeout=20)

    def meets_once():
        met = []

        def on_task(task):
            if isinstance(task, TrainTask) and not met:
                met.append(task)
                both_train.wait()

        return on_task

    workers = [FakeWorker(meets_once()) for _ in range(2)]
    at_once(*(lambda worker=worker: Rounds(sharing_trainer(tmp_path, worker)).run(COHORTS[:1]) for worker in workers))
    num_trained = [sum(isinstance(task, TrainTask) for task in worker.done) for worker in workers]
    assert sum(num_trained) == 4
    assert min(num_trained) >= 1


def test_what_fails_in_one_run_is_computed_by_the_other(tmp_path):
    """The sound run is held up in its first training until the other has failed in one."""
    failed = threading.Event()

    def fail(task):
        if isinstance(task, TrainTask):
            failed.set()
            raise OSError("no luck")

    def wait(task):
        if isinstance(task, TrainTask):
            failed.wait(20)

    broken, sound = FakeWorker(fail), FakeWorker(wait)

    def run_broken():
        with pytest.raises(OSError, match="no luck"):
            Rounds(sharing_trainer(tmp_path, broken)).run(COHORTS[:1])

    def run_sound():
        Rounds(sharing_trainer(tmp_path, sound)).run(COHORTS[:1])

    at_once(run_broken, run_sound)
    assert failed.is_set()
    assert sum(isinstance(task, TrainTask) for task in sound.done) == 4


def test_a_claim_is_given_up_only_once_the_result_is_kept(tmp_path):
    """`later` is called after `compute`, in order, and the claim is held until then."""
    jobs = []
    store = ResultStore(tmp_path)
    share(store, {"a": 1}, is_done=lambda _unit: False, compute=lambda _unit: None, later=jobs.append)
    assert store.claim("a", wait=False) is None
    [finish] = jobs
    finish()
    again = store.claim("a", wait=False)
    assert again is not None
    again.finish()
    assert not list(tmp_path.glob("*/claims/*"))


def test_whoever_waits_looks_again_before_computing(tmp_path):
    held = claim(tmp_path / "format-1" / "claims", "a", wait=False)
    computed, looks = [], []

    def is_done(_unit):
        looks.append(1)
        return True

    threading.Timer(0.1, held.release).start()
    share(ResultStore(tmp_path), {"a": 1}, is_done=is_done, compute=computed.append, later=lambda finish: finish())
    assert not computed
    assert len(looks) == 1


def test_a_store_that_cannot_be_written_shares_nothing(tmp_path, caplog):
    (tmp_path / "format-1").write_text("in the way")
    worker = FakeWorker()
    Rounds(sharing_trainer(tmp_path, worker)).run(COHORTS)
    assert len(worker.done) == len({task.key for task in worker.done}) > 0
    assert "cannot be remembered" in caplog.text


def test_units_that_a_worker_computes_at_once_are_claimed_together(tmp_path):
    store = ResultStore(tmp_path)
    others = claim(tmp_path / "format-1" / "claims", "b", wait=False)
    threading.Timer(0.1, others.release).start()
    computed = []
    share(
        store, {name: name for name in "abcdef"},
        is_done=lambda unit: unit in "bd", compute=computed.append, later=lambda finish: finish(), num_at_once=3,
    )  # fmt: skip
    # b is another's at first, and done when that one ends; d is done. Of the first three that are free two are left.
    assert computed == [["a", "c"], ["e", "f"]]


def test_of_units_that_fail_together_none_stays_claimed(tmp_path):
    store = ResultStore(tmp_path)

    def fail(_units):
        raise OSError("no luck")

    with pytest.raises(OSError, match="no luck"):
        share(store, {"a": 1, "b": 2}, is_done=lambda _: False, compute=fail, later=lambda _: None, num_at_once=2)
    for name in "ab":
        again = store.claim(name, wait=False)
        assert again is not None
        again.finish()
