"""Rounds of real training, as a run asks the trainer for them; what the benchmarks of training share."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from workloads.batches import IGNORED_LABEL, Batch
from workloads.codec_bytes import FP32
from workloads.executors import ExecutorName
from workloads.grouping import grouped, max_group_tokens
from workloads.machine import device_name
from workloads.models import ModelFiles
from workloads.numerics import numerics_id
from workloads.ranks import LoraSpec
from workloads.shapes import ModelShape, lora_targets
from workloads.tasks import AggregateTask, InitialTask, OptimizerSpec, Recipe, TrainTask
from workloads.trainer import TorchTrainer

RANK, ALPHA, LEARNING_RATE = 16, 32, 2e-3

Batches = Sequence[Sequence[Batch]]
"""Of each client, one for each step."""


def random_batch(rng: np.random.Generator, vocabulary: int, batch_size: int, shortest: int, longest: int) -> Batch:
    """Return a batch of samples of `shortest` to `longest` random tokens: only shapes matter for time."""
    lengths = rng.integers(shortest, longest + 1, batch_size).astype(np.int32)
    ids = rng.integers(1, vocabulary, (batch_size, lengths.max())).astype(np.int32)
    real = np.arange(lengths.max()) < lengths[:, None]
    return Batch(
        ids=np.where(real, ids, 0), labels=np.where(real, ids, IGNORED_LABEL).astype(np.int32), lengths=lengths
    )


def targets_of(files: ModelFiles) -> tuple[str, ...]:
    """Return the linear modules of the attention."""
    return tuple(linear.name for linear in lora_targets(ModelShape.from_config(files.config), "attention"))


def recipe_of(files: ModelFiles, device: str, executor: ExecutorName = "sequential") -> Recipe:
    """Return plain AdamW on rank 16 in float32."""
    return Recipe(
        model_digest=files.model_digest,
        tokenizer_digest=files.tokenizer_digest,
        dtype="float32",
        targets=targets_of(files),
        rank=RANK,
        alpha=ALPHA,
        adapter_seed=0,
        optimizer=OptimizerSpec(
            learning_rate=LEARNING_RATE,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=0.0,
            schedule="constant",
            total_steps=None,
            state="kept",
            max_grad_norm=None,
        ),
        dropout=0.0,
        activation_codec=FP32,
        gradient_codec=FP32,
        learning_rule="sfl-v1",
        numerics=numerics_id(device, "float32", executor),
    )


@dataclass
class TrainerRounds:
    """Rounds in which all clients take part; everything that the trainer does for them."""

    trainer: TorchTrainer
    recipe: Recipe
    num_blocks: int
    max_group_tokens: int
    adapter: str
    trained: dict[int, str] = field(default_factory=dict)
    num_steps: int = 0

    @classmethod
    def start(
        cls, files: ModelFiles, device: str, executor: ExecutorName, *, batch_size: int, length_tokens: int
    ) -> "TrainerRounds":
        """Return the rounds of a trainer; the largest batches have so many samples of so many tokens."""
        recipe, shape = recipe_of(files, device, executor), ModelShape.from_config(files.config)
        trainer = TorchTrainer(recipe, files, device=device, executor=executor)
        lora = LoraSpec(targets=lora_targets(shape, "attention"), rank=RANK, cut_rank=RANK, cut_rank_sides="none")
        return cls(
            trainer=trainer,
            recipe=recipe,
            num_blocks=shape.num_blocks,
            max_group_tokens=max_group_tokens(
                shape,
                lora,
                dtype="float32",
                batch_size=batch_size,
                length_tokens=length_tokens,
                device=device_name(device),
            ),
            adapter=trainer.initial(InitialTask(recipe=recipe)),
        )

    def run_round(self, batches: Batches) -> None:
        """Train every client on its batches, at different cuts, average, and forget what is not needed any more."""
        tasks = [
            TrainTask(
                recipe=self.recipe,
                adapter=self.adapter,
                moments=self.trained.get(client),
                first_step=self.num_steps,
                batches=tuple(of_client),
                ranks=(RANK,) * self.num_blocks,
                cut=1 + client % (self.num_blocks - 1),
            )
            for client, of_client in enumerate(batches)
        ]
        results = self.trainer.train(grouped(tasks, self.max_group_tokens), spent=[*self.trained.values()])
        self.trained = {client: result.key for client, result in enumerate(results)}
        self.num_steps += len(batches[0])
        self.adapter = self.trainer.aggregate(
            AggregateTask(
                recipe=self.recipe,
                rule="segment",
                base=self.adapter,
                updates=tuple(self.trained.values()),
                weights=(1.0,) * len(batches),
            )
        )
        self.trainer.release([self.adapter, *self.trained.values()])


def alternate(
    sides: Mapping[str, Callable[[Batches], None]],
    make_batches: Callable[[], Batches],
    repeats: int,
    device: torch.device,
) -> dict[str, list[float]]:
    """Return the seconds that each side takes for a round, again and again, after one round to warm up.

    The sides take turns on the same batches, so that all see the same machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        batches = make_batches()
        for name in sorted(sides, reverse=repeat % 2 == 1):
            start = time.perf_counter()
            sides[name](batches)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def print_ratio(seconds: Mapping[str, Sequence[float]], over: str, under: str, num_steps: int) -> None:
    """Print the time of a client-step on each side, and the ratio of one side's time over the other's."""
    for name, values in seconds.items():
        print(f"{name:10s} {1e3 * statistics.median(values) / num_steps:8.2f} ms a client-step")
    ratios = [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]
    medians = statistics.median(seconds[over]) / statistics.median(seconds[under])
    pairs = f"{len(ratios)} pairs of rounds from {min(ratios):.3f} to {max(ratios):.3f}"
    print(f"{over} / {under}: {medians:.3f} (of medians; {pairs})")
