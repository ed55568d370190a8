"""Rounds of several clients of one trainer, with any recipe, cuts, ranks and rule of aggregation. Imports torch."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tests.workloads.reference import ALPHA, BLOCKS, RANK, targets_of
from workloads.batches import Batch
from workloads.codec_bytes import FP32
from workloads.engine import State
from workloads.models import ModelFiles
from workloads.numerics import numerics_id
from workloads.tasks import AggregateTask, EvalTask, InitialTask, OptimizerSpec, Recipe, TrainTask
from workloads.trainer import TorchTrainer

FULL = (RANK,) * BLOCKS
LEARNING_RATE = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What one client does in a round."""

    batches: Sequence[Batch]
    cut: int = 1
    ranks: Sequence[int] = FULL


def recipe_for(files: ModelFiles, family: str = "llama", **changes: Any) -> Recipe:
    """Return a plain recipe; changes may name fields of the recipe or of its optimizer."""
    optimizer = OptimizerSpec(
        learning_rate=LEARNING_RATE,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        schedule="constant",
        total_steps=None,
        state="kept",
        max_grad_norm=None,
    )
    of_optimizer = {f.name: changes.pop(f.name) for f in dataclasses.fields(OptimizerSpec) if f.name in changes}
    recipe = Recipe(
        model_digest=files.model_digest,
        tokenizer_digest=files.tokenizer_digest,
        dtype="float32",
        targets=targets_of(family),
        rank=RANK,
        alpha=ALPHA,
        adapter_seed=0,
        optimizer=dataclasses.replace(optimizer, **of_optimizer),
        dropout=0.0,
        activation_codec=FP32,
        gradient_codec=FP32,
        learning_rule="sfl-v1",
        numerics=numerics_id("cpu", "float32"),
    )
    return dataclasses.replace(recipe, **changes)


class Cohort:
    """Clients of one trainer."""

    def __init__(self, files: ModelFiles, family: str = "llama", *, rule: str = "segment", **changes: Any) -> None:
        self.recipe = recipe_for(files, family, **changes)
        self.trainer = TorchTrainer(self.recipe, files, device="cpu")
        self.rule = rule
        self.adapter = self.trainer.initial(InitialTask(recipe=self.recipe))
        self.start = self.adapter  # of the last round
        self.trained: dict[int, str] = {}
        self.num_steps: dict[int, int] = {}
        self.num_rounds = 0

    def task(self, client: int, job: Job) -> TrainTask:
        return TrainTask(
            recipe=self.recipe,
            adapter=self.adapter,
            moments=self.trained.get(client) if self.recipe.optimizer.state == "kept" else None,
            first_step=self.num_steps.get(client, 0),
            batches=tuple(job.batches),
            ranks=tuple(job.ranks),
            cut=job.cut,
        )

    def run_round(self, jobs: Mapping[int, Job], weights: Sequence[float] | None = None) -> list[tuple[float, ...]]:
        """Let clients train and aggregate; return their losses."""
        results = self.trainer.train([self.task(client, job) for client, job in jobs.items()])
        for (client, job), result in zip(jobs.items(), results, strict=True):
            self.trained[client] = result.key
            self.num_steps[client] = self.num_steps.get(client, 0) + len(job.batches)
        self.num_rounds += 1
        self.start = self.adapter
        self.adapter = self.trainer.aggregate(
            AggregateTask(
                recipe=self.recipe,
                rule=self.rule,
                base=self.adapter,
                updates=tuple(result.key for result in results),
                weights=tuple(weights or [1.0] * len(results)),
                restart_seed=self.num_rounds if self.rule == "flora" else None,
            )
        )
        return [result.losses for result in results]

    def loss(self, batches: Sequence[Batch], adapter: str | None = None) -> float:
        """Return the held-out loss of a global adapter, by default of the latest."""
        task = EvalTask(recipe=self.recipe, adapter=adapter or self.adapter, batches=tuple(batches))
        return self.trainer.evaluate([task])[0].loss

    def own_loss(self, client: int, batches: Sequence[Batch], cut: int) -> float:
        """Return the loss that a client measures itself after a round."""
        task = EvalTask(
            recipe=self.recipe, adapter=self.trained[client], batches=tuple(batches), start=self.start, cut=cut
        )
        return self.trainer.evaluate([task])[0].loss

    def state(self, key: str | None = None) -> State:
        """Return the state under a key, by default of the latest global adapter."""
        return self.trainer._states[key or self.adapter]

    @property
    def values(self) -> dict[str, Tensor]:
        return dict(self.state().adapter)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)
