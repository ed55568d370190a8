"""States that nobody asks for any more make room while the next ones are made."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workloads.reference import PEFT_WARNING
from tests.workloads.small_models import single_thread
from tests.workloads.test_fused import UNLIMITED, Clients, assert_equal_states, batches_of, model_of
from workloads.executors import ExecutorName
from workloads.grouping import grouped
from workloads.tasks import TrainResult

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(PEFT_WARNING)]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.mark.parametrize("executor", ["sequential", "fused"])
def test_spent_states_go_one_by_one_and_nothing_else_changes(executor: ExecutorName, tmp_path: Path) -> None:
    files = model_of("llama", tmp_path)
    keeping, forgetting = (Clients(files, "llama", executor) for _ in range(2))
    for clients in (keeping, forgetting):
        clients.train(batches_of(0, 1))
    spent = list(forgetting.trained.values())
    tasks = [
        grouped(clients.tasks(batches_of(1, 1)), UNLIMITED if executor == "fused" else 0)
        for clients in (keeping, forgetting)
    ]
    held: list[int] = []

    def note(_: TrainResult) -> None:
        held.append(len(set(spent) & forgetting.trainer._states.keys()))
        assert all(not forgetting.trainer._states[key].adapter for key in spent if key in forgetting.trainer._states)

    for clients, results in (
        (keeping, keeping.trainer.train(tasks[0])),
        (forgetting, forgetting.trainer.train(tasks[1], note, spent)),
    ):
        clients.trained = {client: result.key for client, result in enumerate(results)}
    assert held == [8, 7, 6, 5, 4, 3, 2, 1]  # each while its own task's result is told
    assert not set(spent) & forgetting.trainer._states.keys()
    assert_equal_states(keeping, forgetting, 1e-30)
