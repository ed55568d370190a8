"""Measure what it is worth to train clients together, and how much memory a further client takes.

Speed: 16 clients with different cuts train 4 steps on 4 x 32 tokens at LoRA rank 16, by the executor `sequential` and
by `fused`. Both times are all that the trainer does for a round.

    python -m tests.benchmarks.fused [--model tiny] [--repeats 9] [--threads 2] [--device cpu]

Memory: a fleet trains two rounds of one step, once with few clients and once with many, each in a process of its own.
The growth of the process's peak for a client is given over the bytes of that client's adapter and its two moments.

    python -m tests.benchmarks.fused --memory [--model tiny] [--clients 200 1000] [--executor fused]
"""

import argparse
import resource
import subprocess
import sys
from typing import get_args

import numpy as np
import torch

from tests.benchmarks.rounds import Batches, TrainerRounds, alternate, print_ratio, random_batch
from workloads.executors import ExecutorName
from workloads.loading import pick_device
from workloads.models import ModelFiles, resolve_model

NUM_CLIENTS, NUM_STEPS, BATCH_SIZE, NUM_TOKENS = 16, 4, 4, 32
TENSORS_OF_CLIENT = 3  # adapter, first and second moments


def make_batches(files: ModelFiles, rng: np.random.Generator, num_clients: int, num_steps: int) -> Batches:
    vocabulary: int = files.config["vocab_size"]
    return [
        [random_batch(rng, vocabulary, BATCH_SIZE, NUM_TOKENS, NUM_TOKENS) for _ in range(num_steps)]
        for _ in range(num_clients)
    ]


def start(files: ModelFiles, args: argparse.Namespace, executor: ExecutorName) -> TrainerRounds:
    return TrainerRounds.start(files, args.device, executor, batch_size=BATCH_SIZE, length_tokens=NUM_TOKENS)


def compare_speed(files: ModelFiles, args: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    names: tuple[ExecutorName, ...] = get_args(ExecutorName)
    sides = {str(executor): start(files, args, executor).run_round for executor in names}
    seconds = alternate(
        sides, lambda: make_batches(files, rng, NUM_CLIENTS, NUM_STEPS), args.repeats, pick_device(args.device)
    )
    print_ratio(seconds, "sequential", "fused", NUM_CLIENTS * NUM_STEPS)


def print_peak(files: ModelFiles, args: argparse.Namespace) -> None:
    """Train two rounds and print the peak of this process and what a client has, in bytes."""
    [num_clients] = args.clients
    rounds, rng = start(files, args, args.executor), np.random.default_rng(0)
    for _ in range(2):
        rounds.run_round(make_batches(files, rng, num_clients, 1))
    adapter = rounds.trainer.state(rounds.adapter)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(peak_bytes, TENSORS_OF_CLIENT * sum(values.nbytes for values in adapter.values()))


def compare_memory(args: argparse.Namespace) -> None:
    peaks = []
    for num_clients in args.clients:
        command = [sys.executable, "-m", "tests.benchmarks.fused", "--peak", "--clients", str(num_clients)]
        command += ["--model", args.model, "--executor", args.executor, "--threads", str(args.threads)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak_bytes, of_client_bytes = map(int, output.split())
        peaks.append(peak_bytes)
        print(f"{num_clients:5d} clients: peak {peak_bytes / 2**20:8.0f} MiB")
    few, many = args.clients
    growth_bytes = (peaks[1] - peaks[0]) / (many - few)
    print(f"{growth_bytes:,.0f} bytes a client; its adapter and moments are {of_client_bytes:,}")
    print(f"ratio {growth_bytes / of_client_bytes:.3f}")


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--model", default="tiny")
    cli.add_argument("--repeats", type=int, default=9)
    cli.add_argument("--threads", type=int, default=torch.get_num_threads())
    cli.add_argument("--device", default="cpu")
    cli.add_argument("--memory", action="store_true")
    cli.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    cli.add_argument("--clients", type=int, nargs="+", default=[200, 1000])
    cli.add_argument("--executor", choices=["sequential", "fused"], default="fused")
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory:
        compare_memory(args)
    elif args.peak:
        print_peak(resolve_model(args.model), args)
    else:
        compare_speed(resolve_model(args.model), args)


if __name__ == "__main__":
    main()
