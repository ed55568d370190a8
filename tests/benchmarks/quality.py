"""Measure what each rule of aggregation and each codec costs in quality and saves in bytes, on one small scenario.

Five clients with different devices, cuts, ranks and lengths of text fine-tune the bundled model. One thing differs from
run to run, the rule or the codec, and everything else stays: cuts are fixed by device, so that times cannot move them.
Every variant is run with the same seeds, each of which deals the data, orders the batches and draws the adapters anew.

    python tests/benchmarks/quality.py [--seeds 3] [--rounds 8] [--keep FILE] [--write docs/quality.md]

It prints two tables in Markdown, or puts them into a page between its markers. About twelve minutes on one core; with
`--keep` it goes on where it was interrupted.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import splitft
from workloads.aggregators import AGGREGATORS

LOSSLESS = "fp32"
AVERAGE = "segment"
SPARSE = {"topk": {"kind": "topk", "frac": 0.1}, "randtopk": {"kind": "randtopk", "frac": 0.1, "explore_frac": 0.1}}
CODECS: Mapping[str, Any] = {
    kind: {"activations": codec, "gradients": codec}
    for kind, codec in [(k, {"kind": k}) for k in (LOSSLESS, "bf16", "fp16", "int8", "int4", "hadamard4")]
    + list(SPARSE.items())
}
MB = 1e6


def scenario(*, aggregator: str, codec: str, seed: int, rounds: int) -> splitft.Scenario:
    """Return quickstart, shortened, with fixed cuts."""
    network = "us-fixed-user-2025"
    return splitft.Scenario.from_mapping(
        {
            "name": "quality",
            "seed": seed,
            "rounds": rounds,
            "workload": {
                "max_length_tokens": 64,
                "lora": {"rank": 16, "cut_rank": 8},
                "codec": CODECS[codec],
            },
            "fleet": {
                "clients": [
                    {"device": "rpi5-8gb", "network": network},
                    {"device": "jetson-orin-nano-8gb", "network": network, "count": 2},
                    {"device": "apple-m2-16gb", "network": network},
                    {"device": "rtx-3060-12gb", "network": network},
                ]
            },
            "protocol": {"aggregator": aggregator},
            "policy": {
                "kind": "per-device",
                "default": 2,
                "cuts": {"rpi5-8gb": 1, "apple-m2-16gb": 3, "rtx-3060-12gb": 5},
            },
            "evaluation": {"every": rounds},
            "execution": {"memo": False},
        }
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one variant, over all seeds.

    Attributes:
        before, after: held-out loss in nats a token, by seed.
        up, down: bytes by kind, mean over the seeds.
    """

    before: Sequence[float]
    after: Sequence[float]
    up: Mapping[str, float]
    down: Mapping[str, float]

    @classmethod
    def of(cls, runs: Sequence[splitft.Run]) -> "Outcome":
        losses = [run.evals.sort_values("round")["loss"] for run in runs]
        return cls(
            before=[float(of_run.iloc[0]) for of_run in losses],
            after=[float(of_run.iloc[-1]) for of_run in losses],
            up=mean_bytes([run.summary.up_bytes for run in runs]),
            down=mean_bytes([run.summary.down_bytes for run in runs]),
        )


def mean_bytes(of_runs: Sequence[Mapping[str, int]]) -> dict[str, float]:
    kinds = dict.fromkeys(kind for of_run in of_runs for kind in of_run)
    return {kind: statistics.mean(of_run.get(kind, 0) for of_run in of_runs) for kind in kinds}


def measure(
    variants: Iterable[tuple[str, str]], num_seeds: int, rounds: int, kept: Path | None
) -> dict[tuple[str, str], Outcome]:
    """Run each (aggregator, codec) with every seed; `kept` holds a line for each that was run before."""
    outcomes = {}
    known = kept.read_text(encoding="utf-8").splitlines() if kept is not None and kept.exists() else []
    done = {tuple(name): Outcome(**values) for name, values in map(json.loads, known)}
    for aggregator, codec in variants:
        name = (aggregator, codec, num_seeds, rounds)
        if name in done:
            outcomes[aggregator, codec] = done[name]
            continue
        started_s = time.process_time()
        runs = [
            splitft.run(scenario(aggregator=aggregator, codec=codec, seed=seed, rounds=rounds))
            for seed in range(num_seeds)
        ]
        outcomes[aggregator, codec] = Outcome.of(runs)
        if kept is not None:
            with kept.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps([name, dataclasses.asdict(outcomes[aggregator, codec])])}\n")
        losses = ", ".join(f"{loss:.4f}" for loss in outcomes[aggregator, codec].after)
        cpu_s = time.process_time() - started_s
        print(f"{aggregator:18s} {codec:10s} {losses}   {cpu_s:.0f} s of CPU", file=sys.stderr, flush=True)
    return outcomes


def table(heading: str, rows: Mapping[str, Outcome], reference: Outcome) -> str:
    """Return a Markdown table; differences are paired by seed with the reference."""
    headings = [heading, "held-out loss", "difference"]
    headings += ["up MB", "of it adapters", "activations", "down MB", "of it adapters", "gradients"]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for name, outcome in rows.items():
        differences = [mine - theirs for mine, theirs in zip(outcome.after, reference.after, strict=True)]
        compared = "-" if outcome is reference else spread(differences, "+.4f")
        sizes = [
            sum(outcome.up.values()),
            outcome.up["upload_adapter"],
            outcome.up["upload_activations"],
            sum(outcome.down.values()),
            outcome.down["download_adapter"],
            outcome.down["download_gradients"],
        ]
        cells = [f"`{name}`", spread(outcome.after, ".4f"), compared, *(f"{size / MB:.2f}" for size in sizes)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float], form: str) -> str:
    """Return mean and, of several, standard deviation."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):.4f}"


def put_into(page: Path, tables: str) -> None:
    """Replace what stands between a page's markers."""
    begin, end = "<!-- measured -->", "<!-- end of measured -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n\n{tables}\n\n{end}{after}", encoding="utf-8")


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--seeds", type=int, default=3)
    cli.add_argument("--rounds", type=int, default=8)
    cli.add_argument("--keep", type=Path, metavar="FILE")
    cli.add_argument("--write", type=Path, metavar="PAGE")
    args = cli.parse_args()
    variants = [*((rule, LOSSLESS) for rule in AGGREGATORS), *((AVERAGE, codec) for codec in CODECS)]
    outcomes = measure(dict.fromkeys(variants), args.seeds, args.rounds, args.keep)
    reference = outcomes[AVERAGE, LOSSLESS]
    tables = "\n\n".join(
        [
            f"{args.seeds} seeds, {args.rounds} rounds of 4 steps; the loss was {spread(reference.before, '.4f')}.",
            table("rule", {rule: outcomes[rule, LOSSLESS] for rule in AGGREGATORS}, reference),
            table("codec", {codec: outcomes[AVERAGE, codec] for codec in CODECS}, reference),
        ]
    )
    if args.write is None:
        print(tables)
    else:
        put_into(args.write, tables)


if __name__ == "__main__":
    main()
