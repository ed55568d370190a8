"""Numbers about one run. Definitions stand here; `summary.py`, tables and pictures use them."""

from dataclasses import dataclass

import pandas as pd

from analysis.frames import AFTER_WORK, evaluations
from simulator.records.runs import NO_CAUSE, RunRecords

DIRECTIONS = ("uplink", "downlink")
MAX_LOSS = 100.0  # nats per token; beyond it a run has diverged, and exp(loss) says nothing


@dataclass(frozen=True, kw_only=True)
class TargetReached:
    """When a perplexity target was first met.

    Attributes:
        perplexity: the target.
        round: round of the first evaluation at or below it; None: never, and so are the next two.
        time_s: simulated seconds since the run's start.
        sent_bytes: all bytes sent until then, both ways.
    """

    perplexity: float
    round: int | None = None
    time_s: float | None = None
    sent_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class SlowestClient:
    """The client that most often finished a round last (ties: the lowest number), and on what it spent that time.

    Attributes:
        client: its number.
        device: its device id.
        network: its network id.
        num_rounds: rounds in which it was the last.
        kind: the span kind that took most of its time in those rounds, waiting for the server included.
        kind_frac: that kind's share of its time until its work was done.
    """

    client: int
    device: str
    network: str
    num_rounds: int
    kind: str
    kind_frac: float


def bytes_by_kind(totals: pd.DataFrame) -> pd.DataFrame:
    """Return bytes sent: columns `direction` (uplink, then downlink), `kind`, `num_bytes` (largest first).

    Args:
        totals: `span_totals` of a run.
    """
    sent = totals[totals["actor"].isin(DIRECTIONS) & (totals["num_bytes"] > 0)]
    frame = sent.groupby(["actor", "kind"], observed=True).agg(num_bytes=("num_bytes", "sum")).reset_index()
    frame = frame.rename(columns={"actor": "direction"}).astype({"direction": str, "kind": str})
    # "uplink" comes after "downlink": descending, as the sizes.
    return frame.sort_values(["direction", "num_bytes", "kind"], ascending=[False, False, True], ignore_index=True)


def mean_client_time(totals: pd.DataFrame) -> pd.DataFrame:
    """Return seconds a round by client (rows) and span kind (columns), averaged over the rounds it took part in.

    Args:
        totals: `client_totals` of a run.
    """
    seconds = totals.pivot_table(index="client", columns="kind", values="duration_s", aggfunc="sum", observed=True)
    seconds.columns = seconds.columns.astype(str)
    return seconds.fillna(0.0).div(totals.groupby("client")["round"].nunique(), axis="index")


def working_s(mean_time: pd.DataFrame) -> pd.Series:
    """Return seconds a round until a client's own work is done, waiting for the server included."""
    return mean_time.drop(columns=list(AFTER_WORK), errors="ignore").sum(axis="columns")


def slowest_by_round(totals: pd.DataFrame) -> pd.DataFrame:
    """Return who finished each round's work last: columns `round`, `client`, `end_s`, `kind`, `kind_s`, `working_s`.

    `kind` took most of that client's time in the round until its work was done (`working_s`), waiting for the server
    included. Ties go to the lowest client and to the kind that comes first in a round.

    Args:
        totals: `client_totals` of a run.
    """
    work = totals[~totals["kind"].isin(AFTER_WORK)]
    ends = work.groupby(["round", "client"], as_index=False).agg(
        end_s=("end_s", "max"), working_s=("duration_s", "sum")
    )
    last = ends.sort_values(["round", "end_s", "client"], ascending=[True, False, True]).drop_duplicates("round")
    kinds = work.sort_values(["round", "client", "duration_s", "kind"], ascending=[True, True, False, True])
    longest = kinds.drop_duplicates(["round", "client"])[["round", "client", "kind", "duration_s"]]
    frame = last.merge(longest.rename(columns={"duration_s": "kind_s"}), on=["round", "client"])
    return frame.astype({"kind": str})[["round", "client", "end_s", "kind", "kind_s", "working_s"]]


def slowest_client(run: RunRecords, totals: pd.DataFrame) -> SlowestClient | None:
    """Return the client that bounds the run; None for a run without a finished round.

    Args:
        run: its records.
        totals: `client_totals` of the run.
    """
    slowest = slowest_by_round(totals)
    if slowest.empty:
        return None
    counts = slowest["client"].value_counts()
    client = int(counts[counts == counts.max()].index.min())
    rounds = slowest.loc[slowest["client"] == client, "round"]
    work = totals[(totals["client"] == client) & totals["round"].isin(rounds) & ~totals["kind"].isin(AFTER_WORK)]
    seconds = work.groupby("kind", observed=True)["duration_s"].sum()
    row = run.clients[run.clients["client"] == client].iloc[-1]
    return SlowestClient(
        client=client,
        device=str(row["device"]),
        network=str(row["network"]),
        num_rounds=len(rounds),
        kind=str(seconds.idxmax()),
        kind_frac=float(seconds.max() / seconds.sum()),
    )


def critical_path(spans: pd.DataFrame) -> pd.DataFrame:
    """Return the spans that set a round's length, in order of time: each one is the cause of the next.

    The path ends with the last span that is not waiting for the round's end, and is followed back through `cause_id`
    as far as the given spans reach.

    Args:
        spans: spans of one round (`round_spans`).
    """
    work = spans[~spans["kind"].isin(AFTER_WORK)]
    causes = dict(zip(spans["span_id"], spans["cause_id"], strict=True))
    span_id = int(work.sort_values(["end_s", "span_id"])["span_id"].iloc[-1])
    path = []
    while span_id != NO_CAUSE and span_id in causes:
        path.append(span_id)
        span_id = causes[span_id]
    return spans.set_index("span_id").loc[path[::-1]].reset_index()


def time_to_perplexity(run: RunRecords, target: float) -> TargetReached:
    """Return when the held-out perplexity was first at or below a target."""
    evals = evaluations(run)
    met = evals[evals["perplexity"] <= target]
    if met.empty:
        return TargetReached(perplexity=target)
    first = met.iloc[0]
    return TargetReached(
        perplexity=target,
        round=int(first["round"]),
        time_s=float(first["time_s"]),
        sent_bytes=int(first["sent_bytes"]),
    )


def diverged_round(run: RunRecords) -> int | None:
    """Return the first round in which a held-out or a training loss was no number below `MAX_LOSS`, if there is one."""
    evals = evaluations(run)
    if evals.empty:
        return None  # nothing was learned, which is why there are no losses
    finished = run.clients[run.clients["status"] == "finished"]
    bad = [evals.loc[~(evals["loss"] < MAX_LOSS), "round"], finished.loc[~(finished["train_loss"] < MAX_LOSS), "round"]]
    return min((int(rounds.min()) for rounds in bad if len(rounds)), default=None)


def num_cut_changes(run: RunRecords) -> int:
    """Return how often a client started a round with another cut than in the last round it took part in."""
    cuts = run.clients.sort_values(["client", "round"])
    change = cuts.groupby("client")["cut"].diff()
    return int((change.fillna(0) != 0).sum())
