"""Measure what split training in the trainer costs over a bare PEFT loop.

Both sides train a model on the same padded batches of 16 to 128 random tokens, on one device, at LoRA rank 16 in all
blocks. One repeat is a round of five clients with different cuts, 4 steps of 4 samples each. The trainer's time is all
that it does for a round, one client after another: putting adapters in and taking them out, split steps, moments,
averaging, forgetting. The bare loop is a PEFT model, one AdamW and `model(...).loss.backward()`. Nothing is remembered.

    python -m tests.benchmarks.training_overhead [--model tiny] [--repeats 15] [--threads 2] [--device cpu]
"""

import argparse
import warnings

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from tests.benchmarks.rounds import (
    ALPHA,
    LEARNING_RATE,
    RANK,
    Batches,
    TrainerRounds,
    alternate,
    print_ratio,
    random_batch,
    targets_of,
)
from workloads.loading import load_base, pick_device
from workloads.models import ModelFiles, resolve_model

NUM_CLIENTS, NUM_STEPS, BATCH_SIZE, SHORTEST_TOKENS, LONGEST_TOKENS = 5, 4, 4, 16, 128


class BareLoop:
    """An ordinary PEFT training loop."""

    def __init__(self, files: ModelFiles, device: torch.device) -> None:
        base = load_base(files, device=device, dtype="float32", dropout=0.0)
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(targets_of(files)), task_type="CAUSAL_LM")
        with warnings.catch_warnings(action="ignore"):  # PEFT asks transformers by an old name
            self._model = get_peft_model(base, config).train()
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._adamw = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0)
        self._device = device

    def run_round(self, batches: Batches) -> None:
        for batch in (batch for of_client in batches for batch in of_client):
            ids = torch.from_numpy(batch.ids).to(self._device)
            labels = torch.from_numpy(batch.labels).to(self._device).long()
            self._model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
            self._adamw.step()
            self._adamw.zero_grad()


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--model", default="tiny")
    cli.add_argument("--repeats", type=int, default=15)
    cli.add_argument("--threads", type=int, default=torch.get_num_threads())
    cli.add_argument("--device", default="cpu")
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    files, device = resolve_model(args.model), pick_device(args.device)
    trainer = TrainerRounds.start(files, args.device, "sequential", batch_size=BATCH_SIZE, length_tokens=LONGEST_TOKENS)
    rng = np.random.default_rng(0)

    def batches() -> Batches:
        return [
            [
                random_batch(rng, files.config["vocab_size"], BATCH_SIZE, SHORTEST_TOKENS, LONGEST_TOKENS)
                for _ in range(NUM_STEPS)
            ]
            for _ in range(NUM_CLIENTS)
        ]

    sides = {"trainer": trainer.run_round, "bare": BareLoop(files, device).run_round}
    print_ratio(alternate(sides, batches, args.repeats, device), "trainer", "bare", NUM_CLIENTS * NUM_STEPS)


if __name__ == "__main__":
    main()
