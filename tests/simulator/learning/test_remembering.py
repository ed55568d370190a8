"""A trainer that remembers gives what one that computes everything gives, whatever of its memories has got lost."""

import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.learning.background import MAX_WAITING, Background
from simulator.learning.memory import Memory
from simulator.learning.remembering import RememberingTrainer, WorkCounts
from tests.simulator.fake_worker import FakeWorker, write_values
from tests.workloads.test_tasks import OPTIMIZER, RECIPE, batch
from workloads.grouping import grouped
from workloads.results import Record, SavedState
from workloads.run_results import RunResults
from workloads.store import ResultStore
from workloads.tasks import AggregateTask, EvalResult, EvalTask, InitialTask, Recipe, TrainResult, TrainTask

CONSTANT = dataclasses.replace(RECIPE, optimizer=dataclasses.replace(OPTIMIZER, schedule="constant", total_steps=None))
RESET = dataclasses.replace(CONSTANT, optimizer=dataclasses.replace(CONSTANT.optimizer, state="reset"))
HELD_OUT = (batch(99),)
PAIR_TOKENS = 6  # in a step of two clients with a batch of 3 tokens each


@dataclass
class Rounds:
    """What a run asks of its trainer, as `simulator.learning.tasks` does, and all that it is answered."""

    trainer: RememberingTrainer
    recipe: Recipe = CONSTANT
    together: bool = False
    trained: dict[int, str] = field(default_factory=dict)
    said: list[TrainResult | EvalResult] = field(default_factory=list)

    def run(self, cohorts: Sequence[Sequence[int]], folder: Path | None = None) -> list[TrainResult | EvalResult]:
        adapter = self.trainer.initial(InitialTask(recipe=self.recipe))
        self._evaluate(adapter)
        for number, cohort in enumerate(cohorts, start=1):
            tasks = [self._task(client, number, adapter) for client in cohort]
            results = self.trainer.train(grouped(tasks, PAIR_TOKENS) if self.together else tasks)
            self.said += results
            adapter = self.trainer.aggregate(
                AggregateTask(
                    recipe=self.recipe, rule="segment", base=adapter,
                    updates=tuple(result.key for result in results), weights=(1 / len(results),) * len(results),
                )
            )  # fmt: skip
            self.trained |= {client: result.key for client, result in zip(cohort, results, strict=True)}
            self.trainer.release([adapter, *self.trained.values()])
            self._evaluate(adapter)
        if folder is not None:
            self.trainer.export(adapter, folder)
        self.trainer.close()
        return self.said

    def _task(self, client: int, number: int, adapter: str) -> TrainTask:
        kept = self.recipe.optimizer.state == "kept"
        return TrainTask(
            recipe=self.recipe, adapter=adapter, moments=self.trained.get(client) if kept else None, first_step=0,
            batches=(batch(100 * client + number), batch(7)), ranks=(16, 8), cut=1,
        )  # fmt: skip

    def _evaluate(self, adapter: str) -> None:
        self.said += self.trainer.evaluate([EvalTask(recipe=self.recipe, adapter=adapter, batches=HELD_OUT)])


class Workers:
    """Makes one worker and remembers it."""

    def __init__(self) -> None:
        self.worker: FakeWorker | None = None

    def __call__(self) -> FakeWorker:
        assert self.worker is None, "a second worker was made"
        self.worker = FakeWorker()
        return self.worker

    @property
    def num_done(self) -> int:
        return 0 if self.worker is None else len(self.worker.done)


def remembering(*memories: Memory) -> tuple[RememberingTrainer, Workers]:
    workers = Workers()
    return RememberingTrainer(memories, workers, write_values), workers


def answers(
    cohorts: Sequence[Sequence[int]],
    *memories: Memory,
    recipe: Recipe = CONSTANT,
    together: bool = False,
    folder: Path | None = None,
) -> tuple[list[TrainResult | EvalResult], Workers, WorkCounts]:
    trainer, workers = remembering(*memories)
    return Rounds(trainer, recipe, together).run(cohorts, folder), workers, trainer.counts


THREE = [[0, 1], [1, 2], [0, 1, 2]]  # the clients of three rounds
NUM_TASKS = 1 + 4 + 3 + 7  # the first adapter, evaluations, aggregations, trainings
NUM_STEPS = 7 * 2


def test_without_memories_everything_is_computed() -> None:
    _, workers, counts = answers(THREE)
    assert workers.num_done == NUM_TASKS
    assert counts == WorkCounts(num_steps_computed=NUM_STEPS, num_evals_computed=4)


@pytest.mark.parametrize("recipe", [CONSTANT, RESET], ids=["kept", "reset"])
def test_what_was_done_once_is_never_done_again_and_no_worker_is_made(tmp_path: Path, recipe: Recipe) -> None:
    first, _, _ = answers(THREE, ResultStore(tmp_path / "s"), recipe=recipe, folder=tmp_path / "a")
    second, workers, counts = answers(THREE, ResultStore(tmp_path / "s"), recipe=recipe, folder=tmp_path / "b")
    assert second == first == answers(THREE, recipe=recipe)[0]
    assert workers.worker is None
    assert counts == WorkCounts(num_steps_remembered=NUM_STEPS, num_evals_remembered=4)
    assert (tmp_path / "a" / "w").read_bytes() == (tmp_path / "b" / "w").read_bytes()


def test_a_longer_run_computes_only_what_is_new(tmp_path: Path) -> None:
    answers(THREE[:2], ResultStore(tmp_path))
    said, workers, counts = answers(THREE, ResultStore(tmp_path))
    assert said == answers(THREE)[0]
    assert workers.num_done == 3 + 1 + 1  # the last round's trainings, aggregation and evaluation
    assert (counts.num_steps_computed, counts.num_steps_remembered) == (6, 8)
    assert (counts.num_evals_computed, counts.num_evals_remembered) == (1, 3)


def test_a_run_goes_on_from_its_own_results_without_the_store(tmp_path: Path) -> None:
    answers(THREE[:2], RunResults(tmp_path))
    said, workers, _ = answers(THREE, RunResults(tmp_path))
    assert said == answers(THREE)[0]
    assert workers.num_done == 5


def test_a_run_takes_what_the_store_remembers_into_its_own_results(tmp_path: Path) -> None:
    answers(THREE, ResultStore(tmp_path / "store"))
    answers(THREE[:2], RunResults(tmp_path / "run"), ResultStore(tmp_path / "store"))
    ResultStore(tmp_path / "store").clear()
    said, workers, _ = answers(THREE, RunResults(tmp_path / "run"), ResultStore(tmp_path / "store"))
    assert said == answers(THREE)[0]
    assert workers.num_done == 5


def test_the_runs_own_results_are_asked_first(tmp_path: Path) -> None:
    answers(THREE, RunResults(tmp_path / "run"), ResultStore(tmp_path / "store"))

    class Deaf(ResultStore):
        def recall(self, key: str) -> Record | None:
            raise AssertionError("the store was asked")

    answers(THREE, RunResults(tmp_path / "run"), Deaf(tmp_path / "store"))


def test_after_a_run_its_own_results_hold_every_record_and_the_states_that_are_needed(tmp_path: Path) -> None:
    trainer, _ = remembering(RunResults(tmp_path))
    Rounds(trainer).run(THREE)
    assert len((tmp_path / "tasks.jsonl").read_text().splitlines()) == NUM_TASKS
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1 + 3  # the global adapter, each client's last training


def test_equal_tasks_of_one_round_are_computed_once() -> None:
    trainer, workers = remembering()
    adapter = trainer.initial(InitialTask(recipe=CONSTANT))
    task = Rounds(trainer)._task(0, 1, adapter)
    twin = dataclasses.replace(task, cut=2)  # another task of the same key
    one, other = trainer.train([task, twin])
    assert one == other
    assert workers.num_done == 2
    measure = EvalTask(recipe=CONSTANT, adapter=adapter, batches=HELD_OUT)
    assert len(set(trainer.evaluate([measure, measure]))) == 1
    assert workers.num_done == 3
    assert trainer.counts == WorkCounts(num_steps_computed=2, num_evals_computed=1)


def test_clients_that_are_trained_together_are_computed_again_together(tmp_path: Path) -> None:
    cohorts = [[0, 1, 2, 3]] * 2
    answers(cohorts, RunResults(tmp_path), together=True)
    journal = tmp_path / "tasks.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    # The first adapter, its evaluation, then two pairs of trainings; the fourth training and all after it is lost.
    journal.write_bytes(b"".join(lines[:5]))
    said, workers, counts = answers(cohorts, RunResults(tmp_path), together=True)
    assert said == answers(cohorts, together=True)[0] != answers(cohorts)[0]
    assert counts.num_steps_remembered == 2 * 2  # of the first pair; of the second one is there, but not the other
    # The second pair, the first one and the first adapter (their states had gone before the end), and all that follows.
    assert counts.num_steps_computed == (2 + 2 + 4) * 2
    assert workers.num_done == 2 + 2 + 1 + (1 + 1 + 4 + 1 + 1)


def test_the_worker_holds_only_what_is_live(tmp_path: Path) -> None:
    trainer, workers = remembering(ResultStore(tmp_path))
    Rounds(trainer).run([[0, 1]] * 6)
    assert workers.worker is not None
    assert len(workers.worker.held) == 3
    assert workers.worker.most_held == 3 + 2 + 1  # of the last round, two trainings and an aggregation


def test_a_lost_state_is_computed_again_from_the_last_states_there_are(tmp_path: Path) -> None:
    answers(THREE, ResultStore(tmp_path))
    for state in tmp_path.rglob("*.safetensors"):
        state.unlink()  # records say what happened, but nothing can go on from there
    said, workers, counts = answers([*THREE, [0]], ResultStore(tmp_path))
    assert said == answers([*THREE, [0]])[0]
    assert workers.num_done == (1 + 3 + 7) + 3  # all that makes a state, then the new round
    assert counts.num_steps_computed == NUM_STEPS + 2
    assert workers.worker is not None
    assert workers.worker.most_held <= 7


def test_a_remembered_adapter_that_has_got_lost_is_exported_all_the_same(tmp_path: Path) -> None:
    answers(THREE, ResultStore(tmp_path / "s"), folder=tmp_path / "a")
    for state in (tmp_path / "s").rglob("*.safetensors"):
        state.write_bytes(b"damaged")
    answers(THREE, ResultStore(tmp_path / "s"), folder=tmp_path / "b")
    assert (tmp_path / "a" / "w").read_bytes() == (tmp_path / "b" / "w").read_bytes()


COHORTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True), min_size=1, max_size=5)
Damage = Callable[[Path], None]


def _forget(file: Path) -> None:
    file.unlink()


def _spoil(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3] + b"xyz")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), before=COHORTS, more=COHORTS, kept=st.booleans(), together=st.booleans())
def test_whatever_is_lost_or_damaged_the_answers_are_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    before: list[list[int]],
    more: list[list[int]],
    kept: bool,
    together: bool,
) -> None:
    folder, recipe = tmp_path_factory.mktemp("memories"), CONSTANT if kept else RESET
    answer = functools.partial(answers, recipe=recipe, together=together)
    expected, _, _ = answer([*before, *more], folder=folder / "expected")

    def memories() -> list[Memory]:
        return [RunResults(folder / "run"), ResultStore(folder / "store")]

    answer(before, *memories())
    places = data.draw(st.sampled_from(["run", "store", "both"]))
    for part in ["run", "store"] if places == "both" else [places]:
        files = sorted(
            path for path in (folder / part).rglob("*") if path.suffix in {".json", ".safetensors", ".jsonl"}
        )
        for file in data.draw(st.lists(st.sampled_from(files), unique=True)):
            data.draw(st.sampled_from([_forget, _spoil]))(file) if file.exists() else None
    said, _, _ = answer([*before, *more], *memories(), folder=folder / "found")
    assert said == expected
    assert (folder / "found" / "w").read_bytes() == (folder / "expected" / "w").read_bytes()
    again, workers, _ = answer([*before, *more], *memories(), folder=folder / "again")
    assert again == expected
    assert workers.worker is None or places != "store"


@settings(max_examples=20, deadline=None)
@given(stop=st.integers(0, NUM_TASKS - 1), later=st.integers(0, NUM_TASKS - 1))
def test_a_run_that_stops_at_any_task_and_again_at_any_other_ends_the_same(
    tmp_path_factory: pytest.TempPathFactory, stop: int, later: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    expected, _, _ = answers(THREE)
    num_done = 0
    for limit in (stop, later):
        tasks = itertools.count()

        def stop_here(_task: object, tasks: "itertools.count[int]" = tasks, limit: int = limit) -> None:
            if next(tasks) == limit:
                raise KeyboardInterrupt

        worker = FakeWorker(stop_here)
        trainer = RememberingTrainer([RunResults(folder)], lambda worker=worker: worker, write_values)
        try:
            Rounds(trainer).run(THREE)
        except KeyboardInterrupt:
            trainer.close()
        num_done += len(worker.done)
    said, workers, _ = answers(THREE, RunResults(folder))
    assert said == expected
    assert num_done + workers.num_done == NUM_TASKS  # nothing was done twice


def test_a_worker_that_cannot_be_made_is_said_when_it_is_needed(tmp_path: Path) -> None:
    def none() -> FakeWorker:
        raise ValueError("no such device")

    trainer = RememberingTrainer([ResultStore(tmp_path)], none, write_values)
    with pytest.raises(ValueError, match="no such device"):
        trainer.initial(InitialTask(recipe=CONSTANT))
    trainer.close()


# --- jobs in the background


def test_jobs_are_done_in_order_and_all_before_the_end() -> None:
    background, done = Background(), list[int]()
    for number in range(50):
        background.do(done.append, number)
    background.close()
    assert done == list(range(50))


def test_a_job_that_fails_is_told_at_the_next_occasion() -> None:
    def fail() -> None:
        raise RuntimeError("a defect")

    background = Background()

    def do_and_close() -> None:
        background.do(fail)
        background.close()

    with pytest.raises(RuntimeError, match="a defect"):
        do_and_close()


def test_jobs_do_not_pile_up_behind_a_slow_one() -> None:
    gate, background, started = threading.Event(), Background(), list[int]()
    background.do(gate.wait)  # type: ignore[arg-type]
    for number in range(MAX_WAITING - 1):
        background.do(started.append, number)
    threading.Timer(0.05, gate.set).start()
    background.do(started.append, MAX_WAITING)
    background.do(started.append, MAX_WAITING + 1)  # has to wait for the first one
    assert gate.is_set()
    background.close()
    assert len(started) == MAX_WAITING + 1


def test_a_state_is_written_while_the_next_task_is_computed(tmp_path: Path) -> None:
    """The caller gets its answer before the state is on disk."""
    gate = threading.Event()

    class Slow(ResultStore):
        def keep(self, record: Record, content: bytes | None, twin: Path | None = None) -> Path | None:
            assert gate.wait(10)
            return super().keep(record, content, twin)

        def load(self, record: Record) -> SavedState | None:
            raise AssertionError("what was just made is not read back")

    trainer, workers = remembering(Slow(tmp_path))
    adapter = trainer.initial(InitialTask(recipe=CONSTANT))
    trainer.train([Rounds(trainer)._task(0, 1, adapter)])
    assert workers.num_done == 2
    gate.set()
    trainer.close()
    assert ResultStore(tmp_path).size().num_records == 2
