"""Measure what split training in the trainer costs over a bare PEFT loop.

Both sides train the bundled `tiny` model on the same padded batches, on one device, at LoRA rank 16 in all blocks. One
repeat is a round of five clients with different cuts. The trainer's time is all that it does for a round: putting
adapters in and taking them out, split steps, moments, averaging, forgetting. The bare loop is a PEFT model, one AdamW
and `model(...).loss.backward()`. Repeats of the two sides alternate, so that both see the same machine.

    python tests/benchmarks/training_overhead.py [--repeats 15] [--threads 2] [--device cpu]
"""

import argparse
import statistics
import time
import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from workloads.batches import IGNORED_LABEL, Batch
from workloads.loading import load_base, pick_device
from workloads.models import resolve_model
from workloads.numerics import numerics_id
from workloads.tasks import AggregateTask, InitialTask, OptimizerSpec, Recipe, TrainTask
from workloads.trainer import TorchTrainer

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
RANK, ALPHA, LEARNING_RATE = 16, 32, 2e-3
CUTS = (1, 2, 3, 5, 7)
BATCH_SIZE, LONGEST_TOKENS, LOCAL_STEPS = 4, 128, 4


def random_batch(rng: np.random.Generator, vocabulary: int) -> Batch:
    """Return a batch of samples of 16 to 128 random tokens: only shapes matter for time."""
    lengths = rng.integers(16, LONGEST_TOKENS + 1, BATCH_SIZE).astype(np.int32)
    ids = rng.integers(1, vocabulary, (BATCH_SIZE, lengths.max())).astype(np.int32)
    real = np.arange(lengths.max()) < lengths[:, None]
    return Batch(
        ids=np.where(real, ids, 0), labels=np.where(real, ids, IGNORED_LABEL).astype(np.int32), lengths=lengths
    )


class BareLoop:
    """An ordinary PEFT training loop."""

    def __init__(self, device: torch.device) -> None:
        base = load_base(resolve_model("tiny"), device=device, dtype="float32", dropout=0.0)
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), task_type="CAUSAL_LM")
        with warnings.catch_warnings(action="ignore"):  # PEFT asks transformers by an old name
            self._model = get_peft_model(base, config).train()
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._adamw = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0)
        self._device = device

    def run_round(self, batches: list[list[Batch]]) -> None:
        for batch in (batch for of_client in batches for batch in of_client):
            ids = torch.from_numpy(batch.ids).to(self._device)
            labels = torch.from_numpy(batch.labels).to(self._device).long()
            self._model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
            self._adamw.step()
            self._adamw.zero_grad()


@dataclass
class TrainerLoop:
    """Rounds of the trainer, as a run asks for them."""

    trainer: TorchTrainer
    recipe: Recipe
    adapter: str
    trained: dict[int, str] = field(default_factory=dict)
    num_steps: int = 0

    @classmethod
    def start(cls, device: str) -> "TrainerLoop":
        files = resolve_model("tiny")
        recipe = Recipe(
            model_digest=files.model_digest,
            tokenizer_digest=files.tokenizer_digest,
            dtype="float32",
            targets=TARGETS,
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
            activation_codec="fp32",
            gradient_codec="fp32",
            learning_rule="sfl-v1",
            numerics=numerics_id(device, "float32"),
        )
        trainer = TorchTrainer(recipe, files, device=device)
        return cls(trainer=trainer, recipe=recipe, adapter=trainer.initial(InitialTask(recipe=recipe)))

    def run_round(self, batches: list[list[Batch]]) -> None:
        num_blocks = 8
        tasks = [
            TrainTask(
                recipe=self.recipe,
                adapter=self.adapter,
                moments=self.trained.get(client),
                first_step=self.num_steps,
                batches=tuple(of_client),
                ranks=(RANK,) * num_blocks,
                cut=cut,
            )
            for client, (cut, of_client) in enumerate(zip(CUTS, batches, strict=True))
        ]
        results = self.trainer.train(tasks)
        self.trained = {client: result.key for client, result in enumerate(results)}
        self.num_steps += LOCAL_STEPS
        self.adapter = self.trainer.aggregate(
            AggregateTask(
                recipe=self.recipe,
                rule="segment",
                base=self.adapter,
                updates=tuple(self.trained.values()),
                weights=(1.0,) * len(CUTS),
            )
        )
        self.trainer.release([self.adapter, *self.trained.values()])


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--repeats", type=int, default=15)
    cli.add_argument("--threads", type=int, default=torch.get_num_threads())
    cli.add_argument("--device", default="cpu")
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    sides: dict[str, TrainerLoop | BareLoop] = {"trainer": TrainerLoop.start(args.device), "bare": BareLoop(device)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    rng = np.random.default_rng(0)
    for repeat in range(args.repeats + 1):
        batches = [[random_batch(rng, 4096) for _ in range(LOCAL_STEPS)] for _ in CUTS]
        for name in sorted(sides, reverse=repeat % 2 == 1):
            start = time.perf_counter()
            sides[name].run_round(batches)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat > 0:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        steps = len(CUTS) * LOCAL_STEPS
        print(f"{name:8s} {1e3 * statistics.median(values) / steps:8.2f} ms a step (median of {len(values)} rounds)")
    ratios = [a / b for a, b in zip(seconds["trainer"], seconds["bare"], strict=True)]
    medians = statistics.median(seconds["trainer"]) / statistics.median(seconds["bare"])
    print(f"ratio of medians {medians:.3f}; ratios of paired rounds {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
