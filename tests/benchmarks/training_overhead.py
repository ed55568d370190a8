"""Measure what split training costs in a run over a bare PEFT loop.

Both sides train a model on the same padded batches of 16 to 128 random tokens, on one device. One repeat is a round of
five clients, 4 steps of 4 samples each. The split side is what a run does for a round, one client after another: making
tasks and their keys, putting adapters in and taking them out, split steps, moments, averaging, forgetting. As in the
quickstart scenario it trains rank 16, but 8 in the two blocks at a client's cut, and each cut is another one in every
round, so that ranks change and moments move. The bare loop is a PEFT model of rank 16, one AdamW and
`model(...).loss.backward()`. Nothing is remembered.

    python -m tests.benchmarks.training_overhead [--model tiny] [--repeats 15] [--threads 2] [--device cpu]
"""

import argparse
import warnings

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from simulator.learning.remembering import RememberingTrainer
from simulator.learning.tasks import LearningData, TaskLearning
from simulator.protocols.rounds import ClientLog, ClientPlan, RoundLog
from tests.benchmarks.rounds import (
    ALPHA,
    LEARNING_RATE,
    RANK,
    Batches,
    alternate,
    print_ratio,
    random_batch,
    recipe_of,
    targets_of,
)
from workloads.loading import load_base, pick_device
from workloads.models import ModelFiles, resolve_model
from workloads.ranks import block_ranks
from workloads.shapes import ModelShape
from workloads.trainer import TorchTrainer

NUM_CLIENTS, NUM_STEPS, BATCH_SIZE, SHORTEST_TOKENS, LONGEST_TOKENS = 5, 4, 4, 16, 128
CUT_RANK = 8


class SplitRounds:
    """Rounds of a run in which all clients take part, each at a cut that moves by one block a round."""

    def __init__(self, files: ModelFiles, device: str) -> None:
        recipe, self._num_blocks = recipe_of(files, device), ModelShape.from_config(files.config).num_blocks
        trainer = TorchTrainer(recipe, files, device=device)
        self._batches: Batches = ()
        self._number = 0
        data = LearningData(
            training=lambda client, _round: tuple(self._batches[client]),
            validation=lambda _client: (),
            held_out=(),
            num_samples=np.ones(NUM_CLIENTS),
        )
        self._learning = TaskLearning(
            RememberingTrainer([], lambda: trainer, lambda _state, _folder: None),
            recipe,
            data,
            lambda cut: block_ranks(self._num_blocks, cut, RANK, CUT_RANK, "both"),
            "segment",
        )

    def run_round(self, batches: Batches) -> None:
        """Do what a run does once its clock has settled a round."""
        self._batches, self._number = batches, self._number + 1
        cuts = [1 + (client + self._number) % (self._num_blocks - 1) for client in range(NUM_CLIENTS)]
        clients = tuple(_log(client, cut) for client, cut in enumerate(cuts))
        self._learning.train(RoundLog(round=self._number, start_s=0.0, end_s=1.0, clients=clients))


def _log(client: int, cut: int) -> ClientLog:
    plan = ClientPlan(client=client, cut=cut, steps=())
    return ClientLog(
        plan=plan, start_s=0.0, end_s=1.0, seconds={}, num_bytes={}, num_steps=NUM_STEPS, status="finished"
    )


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
    split = SplitRounds(files, args.device)
    rng = np.random.default_rng(0)

    def batches() -> Batches:
        return [
            [
                random_batch(rng, files.config["vocab_size"], BATCH_SIZE, SHORTEST_TOKENS, LONGEST_TOKENS)
                for _ in range(NUM_STEPS)
            ]
            for _ in range(NUM_CLIENTS)
        ]

    sides = {"split": split.run_round, "bare": BareLoop(files, device).run_round}
    print_ratio(alternate(sides, batches, args.repeats, device), "split", "bare", NUM_CLIENTS * NUM_STEPS)


if __name__ == "__main__":
    main()
