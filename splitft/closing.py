"""The table that a run closes with."""

from rich.table import Table

from analysis.metrics import TargetReached
from analysis.summary import RunSummary
from simulator.setting import Setting
from simulator.verdict import can_cut_affect_learning
from splitft.api import Run
from splitft.show import duration, megabytes, table


def closing_table(run: Run, setting: Setting) -> Table:
    """Return how a run came out, in a dozen lines."""
    summary = run.summary
    rows = [
        ("simulated time", f"{duration(summary.simulated_s)} for {summary.num_rounds} rounds"),
        *_bytes(summary),
        *_quality(summary),
        *((f"perplexity {target.perplexity:g}", _reached(target)) for target in summary.targets),
        *_slowest(summary),
        ("cut changes", str(summary.num_cut_changes)),
        ("can the cut affect learning here?", can_cut_affect_learning(setting)),
    ]
    return table([summary.name, ""], rows)


def _bytes(summary: RunSummary) -> list[tuple[str, str]]:
    return [
        (f"sent {direction}", f"{megabytes(sum(kinds.values()))}: " + ", ".join(_kind(*item) for item in kinds.items()))
        for direction, kinds in (("up", summary.up_bytes), ("down", summary.down_bytes))
    ]


def _kind(kind: str, num_bytes: int) -> str:
    return f"{kind.partition('_')[2].replace('_', ' ')} {megabytes(num_bytes)}"


def _quality(summary: RunSummary) -> list[tuple[str, str]]:
    if summary.before is None or summary.after is None:
        return [("perplexity", "nothing was learned: cost-only")]
    change = summary.after.perplexity / summary.before.perplexity - 1
    return [
        ("held-out loss", f"{summary.before.loss:.4f} -> {summary.after.loss:.4f}"),
        ("held-out perplexity", f"{summary.before.perplexity:.2f} -> {summary.after.perplexity:.2f} ({change:+.1%})"),
    ]


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
    return [("slowest client", f"{where}, last in {slowest.num_rounds} of {summary.num_rounds} rounds: {why}")]
