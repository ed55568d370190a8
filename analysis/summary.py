"""What a run came to, as plain data: the closing table and run.json show this."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis.frames import client_totals, evaluations, perplexity_targets, run_name, span_totals
from analysis.metrics import (
    SlowestClient,
    TargetReached,
    bytes_by_kind,
    diverged_round,
    num_cut_changes,
    slowest_client,
    time_to_perplexity,
)
from simulator.records.runs import RunRecords


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One held-out evaluation: its round (0: before training), simulated time, loss (nats a token) and perplexity."""

    round: int
    time_s: float
    loss: float
    perplexity: float


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The totals of a run.

    Attributes:
        name: the scenario's name.
        num_rounds: rounds finished.
        num_clients: clients that took part in at least one.
        simulated_s: when the last round ended.
        up_bytes: bytes from clients to the server by span kind, largest first; `upload_total` alone where the run did
            not write down what was sent.
        down_bytes: bytes from the server to clients likewise.
        energy_j: joules that the clients' devices took; None where that is not known of all of them.
        before: held-out evaluation before training; None where there was none (as the next two).
        after: the last one after some training.
        best: the one of lowest loss.
        targets: when each perplexity target was first met.
        slowest: the client that most often finished last, and why; None without a finished round.
        num_cut_changes: how often a client's cut differed from its last one.
        diverged_round: the first round with a loss that is not finite, or beyond any model's; None where all is well.
    """

    name: str
    num_rounds: int
    num_clients: int
    simulated_s: float
    up_bytes: dict[str, int]
    down_bytes: dict[str, int]
    energy_j: float | None
    before: Evaluation | None
    after: Evaluation | None
    best: Evaluation | None
    targets: tuple[TargetReached, ...]
    slowest: SlowestClient | None
    num_cut_changes: int
    diverged_round: int | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for JSON; a loss that is not finite (a diverged run) becomes null."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def summarise(run: RunRecords, targets: Sequence[float] | None = None) -> RunSummary:
    """Return the totals of a run.

    Args:
        run: its records.
        targets: perplexities to reach; None: those of the scenario.
    """
    totals = span_totals(run)
    sent = bytes_by_kind(totals)
    columns = ["round", "time_s", "loss", "perplexity"]
    rows = evaluations(run)[columns].itertuples(index=False, name=None)
    evals = [Evaluation(**dict(zip(columns, row, strict=True))) for row in rows]
    trained = [evaluation for evaluation in evals if evaluation.round > 0]
    finite = [evaluation for evaluation in evals if math.isfinite(evaluation.loss)]
    return RunSummary(
        name=run_name(run),
        num_rounds=len(run.rounds),
        num_clients=int(run.clients["client"].nunique()),
        simulated_s=float(run.rounds["end_s"].max()) if len(run.rounds) else 0.0,
        up_bytes=_by_kind(run, sent, "uplink"),
        down_bytes=_by_kind(run, sent, "downlink"),
        energy_j=_energy_j(run),
        before=next((evaluation for evaluation in evals if evaluation.round == 0), None),
        after=trained[-1] if trained else None,
        best=min(finite, key=lambda evaluation: evaluation.loss, default=None),
        targets=tuple(time_to_perplexity(run, t) for t in (perplexity_targets(run) if targets is None else targets)),
        slowest=slowest_client(run, client_totals(totals)),
        num_cut_changes=num_cut_changes(run),
        diverged_round=diverged_round(run),
    )


def _by_kind(run: RunRecords, sent: pd.DataFrame, direction: str) -> dict[str, int]:
    if run.span_detail == "none" and len(run.rounds):
        way = direction.removesuffix("link")
        return {f"{way}load_total": int(run.rounds[f"{way}_bytes"].sum())}
    rows = sent[sent["direction"] == direction]
    return {str(kind): int(size) for kind, size in zip(rows["kind"], rows["num_bytes"], strict=True)}


def _energy_j(run: RunRecords) -> float | None:
    energy_j = run.rounds["energy_j"]
    return None if energy_j.isna().any() or energy_j.empty else float(energy_j.sum())


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
