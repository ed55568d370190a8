"""What the simulator asks of whoever does the learning.

Both take tasks (`workloads.tasks`) and answer with the names of states and with losses. They know no clock, no client
and no device. A run talks to a `Trainer`; `simulator.learning.remembering` is one that asks a `Worker` for what nobody
has computed yet, and `workloads.trainer.TorchTrainer` is the real worker.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from workloads.results import SavedState
from workloads.tasks import AggregateTask, EvalResult, EvalTask, InitialTask, TrainResult, TrainTask


class Trainer(Protocol):
    """Answers tasks, in zero simulated time."""

    def initial(self, task: InitialTask) -> str:
        """Make the first global adapter and return its key."""

    def train(self, tasks: Sequence[TrainTask], spent: Collection[str] = ()) -> list[TrainResult]:
        """Train each client for its steps of a round.

        Args:
            tasks: one for each client.
            spent: states that these tasks may go on with and that nobody asks for any more. Each is forgotten as soon
                as it has been used, so that memory does not hold every client twice.
        """

    def aggregate(self, task: AggregateTask) -> str:
        """Make the next global adapter and return its key."""

    def evaluate(self, tasks: Sequence[EvalTask]) -> list[EvalResult]:
        """Measure adapters on held-out batches."""

    def release(self, live: Iterable[str]) -> None:
        """Forget every state but those named."""

    def export(self, key: str, folder: Path) -> None:
        """Write a global adapter as a PEFT folder."""


class Worker(Protocol):
    """Computes tasks whose inputs it holds: states that it has made or that it was given."""

    def initial(self, task: InitialTask) -> str:
        """Make the first global adapter and return its key."""

    def train(
        self, tasks: Sequence[TrainTask], on_result: Callable[[TrainResult], None], spent: Collection[str] = ()
    ) -> list[TrainResult]:
        """Train each client for its steps of a round.

        Args:
            tasks: one for each client; groups are whole.
            on_result: called as soon as a task's state is held.
            spent: states to forget as soon as they have been used; see `Trainer.train`.
        """

    def aggregate(self, task: AggregateTask) -> str:
        """Make the next global adapter and return its key."""

    def evaluate(self, tasks: Sequence[EvalTask]) -> list[EvalResult]:
        """Measure adapters on held-out batches."""

    def get(self, key: str) -> SavedState:
        """Return a state that is held; nobody changes its arrays."""

    def put(self, key: str, state: SavedState) -> None:
        """Hold a state under a key."""

    def release(self, live: Iterable[str]) -> None:
        """Forget every state but those named."""
