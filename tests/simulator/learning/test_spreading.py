"""Spread over any number of hands, whichever is done first or is lost, the results are those of one worker."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.engines.lost import LostError
from simulator.learning.remembering import RememberingTrainer
from simulator.learning.spreading import Done, Hand, Job, Lost, SpreadWorker
from tests.simulator.fake_worker import FakeWorker, write_values
from tests.simulator.learning.test_remembering import CONSTANT, RESET, Rounds
from tests.simulator.learning.test_spent_states import NUM_CLIENTS, three_rounds
from tests.workloads.test_tasks import RECIPE, batch
from workloads.interleaved_tasks import interleave
from workloads.results import SavedState
from workloads.run_results import RunResults
from workloads.store import ResultStore
from workloads.tasks import AggregateTask, EvalTask, InitialTask, Recipe, TrainTask

COHORTS = [[0, 1, 2, 3, 4], [1, 2, 3], [0, 1, 2, 3, 4, 5]]


class FakeCrew:
    """Hands in this process, which do a job when it is waited for.

    Attributes:
        jobs: all that were begun, with their hands, in order.
        most_at_work: the largest number of hands at work at once.
        pick: which of the jobs at work ends next.

    Args:
        pick: that.
        losses: whether the hand of a job that ends is lost instead.
    """

    def __init__(
        self,
        num_hands: int,
        pick: Callable[[int], int] = lambda _num_at_work: 0,
        losses: Callable[[int, Job], bool] = lambda _hand, _job: False,
    ) -> None:
        self.hands = range(num_hands)
        self.workers = [FakeWorker() for _ in self.hands]
        self.jobs: list[tuple[int, Job]] = []
        self.most_at_work = 0
        self.pick, self._losses = pick, losses
        self._hands = [Hand(worker) for worker in self.workers]
        self._at_work: list[tuple[int, Job, Sequence[bytes]]] = []

    def keep(self, state: bytes) -> bytes:
        return state

    def fetch(self, place: bytes) -> bytes:
        return place

    def begin(self, hand: int, job: Job, states: Sequence[bytes]) -> None:
        assert hand not in [busy for busy, _, _ in self._at_work]
        self._at_work.append((hand, job, states))
        self.jobs.append((hand, job))
        self.most_at_work = max(self.most_at_work, len(self._at_work))

    def wait(self) -> Done | Lost:
        hand, job, states = self._at_work.pop(self.pick(len(self._at_work)))
        if self._losses(hand, job):
            return Lost(hand=hand, why="unplugged")
        reports, made = self._hands[hand].do(job, states)
        return Done(hand=hand, reports=reports, states=made)

    @property
    def training(self) -> list[tuple[int, Job]]:
        return [(hand, job) for hand, job in self.jobs if isinstance(job.unit[0], TrainTask)]


def spread(crew: FakeCrew, folder: Path | None = None) -> RememberingTrainer:
    memories = [] if folder is None else [ResultStore(folder)]
    store = memories[0] if memories else None
    return RememberingTrainer(memories, lambda: SpreadWorker(crew), write_values, store, num_at_once=3)


def alone(recipe: Recipe, *, together: bool) -> object:
    return Rounds(RememberingTrainer([], FakeWorker, write_values), recipe, together).run(COHORTS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    num_hands=st.integers(1, 4),
    together=st.booleans(),
    remembers=st.booleans(),
    recipe=st.sampled_from([CONSTANT, RESET]),
)
def test_results_are_those_of_one_worker_whoever_is_done_first_and_whoever_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    num_hands: int,
    together: bool,
    remembers: bool,
    recipe: Recipe,
) -> None:
    left = [num_hands]

    def loses(_hand: int, _job: Job) -> bool:
        lost = left[0] > 1 and data.draw(st.integers(0, 9)) == 0
        left[0] -= lost
        return lost

    crew = FakeCrew(num_hands, lambda num_at_work: data.draw(st.integers(0, num_at_work - 1)), loses)
    trainer = spread(crew, tmp_path_factory.mktemp("store") if remembers else None)
    assert Rounds(trainer, recipe, together).run(COHORTS) == alone(recipe, together=together)
    done = Counter(task.key for worker in crew.workers for task in worker.done)
    assert set(done.values()) == {1}  # of a lost hand's job nothing is counted here: it was not done


@pytest.mark.parametrize("remembers", [False, True], ids=["without a store", "with a store"])
def test_all_hands_are_at_work_at_once(tmp_path: Path, remembers: bool) -> None:
    crew = FakeCrew(3)
    Rounds(spread(crew, tmp_path if remembers else None)).run(COHORTS)
    assert crew.most_at_work == 3
    assert {hand for hand, _ in crew.training} == {0, 1, 2}


def test_a_group_goes_to_one_hand_as_a_whole() -> None:
    crew = FakeCrew(3)
    Rounds(spread(crew), together=True).run(COHORTS)
    assert max(len(job.unit) for _, job in crew.training) > 1
    for _, job in crew.training:
        assert len({getattr(task, "group", None) for task in job.unit}) == 1


def test_clients_come_back_to_the_hand_that_has_their_moments() -> None:
    crew = FakeCrew(3)
    Rounds(spread(crew)).run([list(range(6))] * 3)
    # 6 clients on 3 hands, 2 each: in no later round does anybody have more, so no moments move.
    moments = {job.unit[0].inputs[1] for _, job in crew.training if len(job.unit[0].inputs) == 2}
    assert len(moments) == 2 * 6
    assert not moments & {key for _, job in crew.training for key in job.given}


def test_a_hand_without_work_takes_over_clients_of_the_hand_with_most() -> None:
    crew = FakeCrew(2)

    def pick(num_at_work: int) -> int:
        # In round 1 what was begun last is done first, and so one hand trains 5 of 6 clients; later the other way
        # round, so that the hand with the one client is free while the other has 4 left.
        return num_at_work - 1 if len(crew.training) <= 6 else 0

    crew.pick = pick
    Rounds(spread(crew)).run([list(range(6))] * 2)
    hands = [hand for hand, _ in crew.training]
    assert sorted(Counter(hands[:6]).values()) == [1, 5]
    assert sorted(Counter(hands[6:]).values()) == [3, 3]  # both take turns
    assert sum(job.unit[0].inputs[1] in job.given for _, job in crew.training[6:]) == 2


@pytest.mark.parametrize("max_group_tokens", [None, 9])
def test_no_hand_holds_more_than_its_clients(max_group_tokens: int | None) -> None:
    crew = FakeCrew(2)
    worker = SpreadWorker(crew)
    three_rounds(RememberingTrainer([], lambda: worker, write_values), max_group_tokens)
    # What one worker alone would hold is the bound (`test_spent_states`): the global adapter before and after, every
    # client, and the one being trained. Only the hand that aggregates comes near it, and lets go of the others' again.
    assert max(fake.most_held for fake in crew.workers) <= 2 + NUM_CLIENTS + 1
    trained = [{key for key in worker._held[hand] if key in _trained(crew)} for hand in crew.hands]
    assert sorted(key for keys in trained for key in keys) == sorted(set.union(*trained))  # each is with one hand


def _trained(crew: FakeCrew) -> set[str]:
    return {task.key for _, job in crew.training for task in job.unit}


def test_what_is_released_is_forgotten_by_hands_with_their_next_job() -> None:
    crew = FakeCrew(1)
    worker = SpreadWorker(crew)
    first = worker.initial(InitialTask(recipe=RECIPE))
    worker.put("other", worker.get(first))
    worker.aggregate(AggregateTask(recipe=RECIPE, rule="segment", base=first, updates=("other",), weights=(1.0,)))
    worker.release(["other"])
    worker.evaluate([EvalTask(recipe=RECIPE, adapter="other", batches=(batch(),))])
    assert crew.workers[0].held == []
    with pytest.raises(KeyError):
        worker.get(first)


def test_members_of_an_interleaving_are_one_job() -> None:
    crew = FakeCrew(3)
    worker = SpreadWorker(crew)
    start = worker.initial(InitialTask(recipe=RECIPE))
    own = [
        TrainTask(
            recipe=RECIPE, adapter=start, moments=None, first_step=0, batches=(batch(i),), ranks=(16, 8), cut=1
        )
        for i in range(3)
    ]  # fmt: skip
    tasks = interleave(own, hands_in=(True,) * 3, order=((1, 0), (0, 0), (2, 0)), relayed=False, server=None)
    said = []
    results = worker.train(tasks, said.append)
    assert [result.key for result in results] == [task.key for task in tasks]
    assert said == results
    assert [job.unit for _, job in crew.training] == [tuple(tasks)]


def test_steps_are_counted_and_results_told_as_they_come_in() -> None:
    told: list[object] = []
    worker = SpreadWorker(FakeCrew(2, lambda num_at_work: num_at_work - 1), on_step=told.append)
    start = worker.initial(InitialTask(recipe=RECIPE))
    tasks = [
        TrainTask(
            recipe=RECIPE, adapter=start, moments=None, first_step=0, batches=(batch(i),) * (i + 1), ranks=(16, 8),
            cut=1,
        )
        for i in range(3)
    ]  # fmt: skip
    worker.train(tasks, lambda result: told.append(result.key))
    # Two hands; the one begun last is done first: client 1, then what it takes next, client 2, then client 0.
    assert told == [2, tasks[1].key, 3, tasks[2].key, 1, tasks[0].key]


def test_a_lost_hand_is_said_and_the_last_one_ends_the_run(tmp_path: Path) -> None:
    notes: list[str] = []
    crew = FakeCrew(2, losses=lambda _hand, job: isinstance(job.unit[0], TrainTask) and len(crew.training) > 3)
    worker = SpreadWorker(crew, on_note=notes.append)
    results = RunResults(tmp_path)
    trainer = RememberingTrainer([results], lambda: worker, write_values)
    with pytest.raises(LostError, match="no worker is left; the last one is lost: unplugged"):
        Rounds(trainer).run(COHORTS)
    trainer.close()
    assert notes == ["a worker is lost (unplugged); what it was at is computed by the 1 left"]
    # What was done before is kept, and another attempt goes on from there: to the same end, and nothing is done twice.
    again = FakeCrew(2)
    trainer = RememberingTrainer([RunResults(tmp_path)], lambda: SpreadWorker(again), write_values)
    assert Rounds(trainer).run(COHORTS) == alone(CONSTANT, together=False)
    done = Counter(task.key for fake in (*crew.workers, *again.workers) for task in fake.done)
    assert set(done.values()) == {1}


def test_runs_at_the_same_time_compute_every_task_once(tmp_path: Path) -> None:
    crews, said = [FakeCrew(2), FakeCrew(3)], {}
    meet = threading.Barrier(2)

    def run(number: int) -> None:
        trainer = spread(crews[number], tmp_path)
        meet.wait()
        said[number] = Rounds(trainer).run(COHORTS)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said[0] == said[1] == alone(CONSTANT, together=False)
    done = Counter(task.key for crew in crews for fake in crew.workers for task in fake.done)
    assert set(done.values()) == {1}


def test_states_travel_as_they_are_kept() -> None:
    crew = FakeCrew(1)
    worker = SpreadWorker(crew)
    key = worker.initial(InitialTask(recipe=RECIPE))
    state = worker.get(key)
    worker.put("copy", state)
    assert isinstance(state, SavedState)
    assert worker.get("copy").to_bytes() == crew.workers[0].get(key).to_bytes()
