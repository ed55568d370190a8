"""What the simulator asks of whoever does the learning, and the trainer that learns nothing.

Trainers take tasks (`workloads.tasks`) and answer with the names of states and with losses. They know no clock, no
client and no device; `workloads.trainer.TorchTrainer` is the real one.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from workloads.tasks import AggregateTask, EvalResult, EvalTask, InitialTask, TrainResult, TrainTask


class Trainer(Protocol):
    """Executes tasks, in zero simulated time."""

    numerics: str
    """Names all of the machine and the software that can change a result."""

    def initial(self, task: InitialTask) -> str:
        """Make the first global adapter and return its key."""

    def train(self, tasks: Sequence[TrainTask]) -> list[TrainResult]:
        """Train each client for its steps of a round."""

    def aggregate(self, task: AggregateTask) -> str:
        """Make the next global adapter and return its key."""

    def evaluate(self, tasks: Sequence[EvalTask]) -> list[EvalResult]:
        """Measure adapters on held-out batches."""

    def release(self, live: Iterable[str]) -> None:
        """Forget every state but those named."""

    def export(self, key: str, folder: Path) -> None:
        """Write a global adapter as a PEFT folder."""
