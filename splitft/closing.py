"""The table that a run closes with."""

import math
from collections.abc import Mapping
from dataclasses import replace

from rich.table import Table

from analysis.metrics import TargetReached
from analysis.summary import RunSummary
from analysis.words import counted
from simulator.caveats import missing_losses, missing_performance
from simulator.costs.energy import unknown_energy
from simulator.costs.overheads import assumed_overhead
from simulator.setting import Setting
from simulator.verdict import can_cut_affect_learning
from splitft.finished import Run
from splitft.show import duration, energy, megabytes, table
from workloads.counts import Part, adapter_parameters, base_parameters, client_part, server_part
from workloads.shapes import ModelShape
from workloads.tasks import RULES_WITH_AUXILIARY_HEAD, RULES_WITH_CLIENT_HEAD


def closing_table(run: Run, setting: Setting) -> Table:
    """Return how a run came out, in a dozen lines."""
    summary = run.summary
    rows = [
        ("simulated time", f"{duration(summary.simulated_s)} for {counted(summary.num_rounds, 'round')}"),
        *_bytes(summary),
        *([("diverged", _diverged(summary))] if summary.diverged_round is not None else []),
        ("energy of the clients", energy_words(summary, setting)),
        *_quality(summary),
        *_work(run),
        *((f"perplexity {target.perplexity:g}", _reached(target)) for target in summary.targets),
        *_slowest(summary),
        *_discarded(run),
        *(("not enough memory", outcome) for outcome in setting.fit.outcomes),
        *_parameters(run, setting),
        ("cut changes", str(summary.num_cut_changes)),
        *([("performance term", missing)] if (missing := missing_performance(setting.scenario)) else []),
        *([("selection", missing)] if (missing := missing_losses(setting.scenario)) else []),
        ("can the cut affect learning here?", can_cut_affect_learning(setting)),
        ("assumed overhead of blocks", assumed_overhead(setting).words()),
    ]
    return table([summary.name, ""], rows)


def energy_words(summary: RunSummary, setting: Setting) -> str:
    """Return what the clients' devices took, or why that is not known."""
    if summary.energy_j is None:
        return f"unknown: {unknown_energy(setting.fleet, setting.scenario.protocol.kind)}"
    origin = "power partly assumed" if setting.scenario.costs.energy == "assumed" else "power as devices state it"
    return f"{energy(summary.energy_j)}; {origin}"


def _discarded(run: Run) -> list[tuple[str, str]]:
    """Return what did not count and why, where anything did not; and why the run ended early, where it did."""
    counts = run.clients["status"].value_counts()
    others = [f"{num:,} {status}" for status, num in sorted(counts.items()) if status != "finished"]
    early = run.records.meta.get("ended_early")
    return [
        *(
            [("did not count", f"{', '.join(others)}, of {counted(int(counts.sum()), 'time')} a client took part")]
            if others
            else []
        ),
        *([("ended early", str(early))] if early else []),
    ]


def _parameters(run: Run, setting: Setting) -> list[tuple[str, str]]:
    """Return who holds how much of the model, at the shallowest and the deepest cut of the run."""
    cuts = sorted({int(run.clients["cut"].min()), int(run.clients["cut"].max())}) if len(run.clients) else []
    sides = ("client", "server") if setting.is_split else ("client",)
    priced = setting.models.priced_as
    return [
        ("base parameters", _size(setting.shape)),
        *([("the clock charges for", f"{priced.name}: {_size(priced.shape)}")] if priced else []),
        *(
            (f"{side} parameters", "; ".join(_held(_parts(setting, cut)[number], cut) for cut in cuts))
            for number, side in enumerate(sides)
        ),
    ]


def _parts(setting: Setting, cut: int) -> tuple[Part, Part]:
    """Return what client and server hold, the head where the protocol has it."""
    rule, (shape, lora) = setting.scenario.protocol.kind, (setting.shape, setting.lora)
    client, server = client_part(shape, lora, cut), server_part(shape, lora, cut)
    if rule in RULES_WITH_AUXILIARY_HEAD | RULES_WITH_CLIENT_HEAD:
        client = replace(client, has_head=True)
    return client, replace(server, has_head=rule not in RULES_WITH_CLIENT_HEAD)


def _size(shape: ModelShape) -> str:
    return f"{shape.num_parameters:,} in {counted(shape.num_blocks, 'block')}"


def _held(part: Part, cut: int) -> str:
    return f"at cut {cut} {base_parameters(part):,} frozen and {adapter_parameters(part):,} trained"


def _bytes(summary: RunSummary) -> list[tuple[str, str]]:
    return [
        (f"sent {direction}", _sum(kinds) if kinds else "nothing")
        for direction, kinds in (("up", summary.up_bytes), ("down", summary.down_bytes))
    ]


def _sum(kinds: Mapping[str, int]) -> str:
    return f"{megabytes(sum(kinds.values()))}: {', '.join(_kind(*item) for item in kinds.items())}"


def _kind(kind: str, num_bytes: int) -> str:
    return f"{kind.partition('_')[2].replace('_', ' ')} {megabytes(num_bytes)}"


def _quality(summary: RunSummary) -> list[tuple[str, str]]:
    if summary.before is None:  # whoever trains is measured before the first round
        return [("perplexity", "nothing was learned: cost-only")]
    assert summary.after is not None  # and after the last
    change = summary.after.perplexity / summary.before.perplexity - 1
    changed = f" ({change:+.1%})" if math.isfinite(change) else ""
    changed += ": worse than before training" if change > 0 else ""
    return [
        ("held-out loss", f"{summary.before.loss:.4f} -> {summary.after.loss:.4f}"),
        ("held-out perplexity", f"{summary.before.perplexity:.2f} -> {summary.after.perplexity:.2f}{changed}"),
    ]


def _diverged(summary: RunSummary) -> str:
    return f"in round {summary.diverged_round}: nothing was learned that is worth keeping; try a smaller learning rate"


def _work(run: Run) -> list[tuple[str, str]]:
    """Return how much was computed for the run and how much was remembered, where anything was learned."""
    host = run.records.meta["host"]
    computed, remembered = host["num_steps_computed"], host["num_steps_remembered"]
    return [("training steps", f"{computed:,} computed, {remembered:,} remembered")] if computed + remembered else []


def _reached(target: TargetReached) -> str:
    if target.time_s is None or target.sent_bytes is None:
        return "not reached"
    return f"after {duration(target.time_s)} and {megabytes(target.sent_bytes)}, in round {target.round}"


def _slowest(summary: RunSummary) -> list[tuple[str, str]]:
    slowest = summary.slowest
    if slowest is None:
        return []
    why = f"{slowest.kind_frac:.0%} of its time is {slowest.kind.replace('_', ' ')}"
    where = f"client {slowest.client} ({slowest.device}, {slowest.network})"
    return [
        ("slowest client", f"{where}, last in {slowest.num_rounds} of {counted(summary.num_rounds, 'round')}: {why}")
    ]
