"""Frames that every metric and picture starts from."""

from collections.abc import Sequence

import pandas as pd

from simulator.records.runs import SERVER_CLIENT, RunRecords

# The client has finished its round's work, or is away: no part of how long its own path takes.
AFTER_WORK = ("round_wait", "offline")

SUMS = {"duration_s": "sum", "num_bytes": "sum", "end_s": "max"}


def span_totals(run: RunRecords) -> pd.DataFrame:
    """Return time and bytes by round, client, actor and kind, without holding all spans at once.

    Columns: `round`, `client` (-1: the server's own), `actor`, `kind`, `duration_s` (sum), `num_bytes` (sum),
    `end_s` (the last span's end). Without a row where nothing was written down of where the time went.
    """
    keys = ["round", "client", "actor", "kind"]
    parts = [_totals(chunk.assign(duration_s=chunk["end_s"] - chunk["start_s"]), keys) for chunk in run.span_chunks()]
    parts += [chunk[[*keys, *SUMS]].sort_values(keys) for chunk in run.total_chunks()]
    if not parts:
        return pd.DataFrame(columns=[*keys, *SUMS])
    totals = pd.concat(parts, ignore_index=True)
    num_rounds = sum(part["round"].nunique() for part in parts)
    is_split = num_rounds > totals["round"].nunique()  # a round in several chunks
    return _totals(totals, keys) if is_split else totals


def _totals(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    grouped = frame.groupby(keys, observed=True, as_index=False)
    return grouped.agg(SUMS)


def client_totals(totals: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `span_totals` that belong to clients' timelines."""
    return totals[totals["client"] != SERVER_CLIENT]


def round_spans(run: RunRecords, number: int) -> pd.DataFrame:
    """Return the spans of one round.

    Raises:
        ValueError: the run has no such round.
    """
    parts = [part for chunk in run.span_chunks() if len(part := chunk[chunk["round"] == number])]
    if not parts:
        single = "" if run.span_detail == "steps" else " and keeps no single spans (execution.spans)"
        raise ValueError(f"round {number} has no spans; the run has {len(run.rounds)} rounds{single}")
    return pd.concat(parts, ignore_index=True)


def evaluations(run: RunRecords, scope: str = "global") -> pd.DataFrame:
    """Return the evaluations of a scope in order of rounds, with `sent_bytes`: all traffic up to then, both ways."""
    evals = run.evals[run.evals["scope"] == scope].sort_values(["round", "client"], ignore_index=True)
    rounds = run.rounds.sort_values("round")
    sent = (rounds["up_bytes"] + rounds["down_bytes"]).cumsum()
    # Rounds with a number up to the evaluation's: an evaluation before training (round 0) finds none.
    index = rounds["round"].searchsorted(evals["round"], side="right")
    return evals.assign(sent_bytes=[0 if i == 0 else int(sent.iloc[i - 1]) for i in index])


def run_name(run: RunRecords) -> str:
    """Return the scenario's name."""
    return str(run.meta["scenario"]["name"])


def perplexity_targets(run: RunRecords) -> Sequence[float]:
    """Return the perplexities that the scenario asks to reach."""
    return tuple(float(target) for target in run.meta["scenario"]["evaluation"]["targets"]["perplexity"])


def client_labels(run: RunRecords) -> dict[int, str]:
    """Return a short label for each client that took part: its number and device."""
    last = run.clients.sort_values("round").drop_duplicates("client", keep="last")
    return {int(client): f"{client} {device}" for client, device in zip(last["client"], last["device"], strict=True)}
