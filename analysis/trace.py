"""A run as a trace: open the file at https://ui.perfetto.dev, which reads it in the browser.

It is in Chrome's trace event format (JSON), which Perfetto, Speedscope and chrome://tracing take: a process for the
run with its rounds and its held-out perplexity, one for the server, and one for each client with a track for the
device, for either direction of its link and for waiting. What the server does for a client is on the server's tracks;
arrows lead from a span to those that it let begin on other tracks. A second of the trace is a simulated second. Times
are whole microseconds: Perfetto cuts off fractions, and drops a span that then seems to begin before another's end.
"""

import gzip
import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import client_labels, evaluations, run_name
from analysis.lanes import free_lanes
from simulator.records.runs import OUTSIDE_STEPS, SERVER_CLIENT, RunRecords

Event = dict[str, Any]

MICROSECONDS = 1e6  # in a second: the format's unit
RUN, SERVER, FIRST_CLIENT = 1, 2, 3  # numbers of processes; client k is FIRST_CLIENT + k
TRACKS = {"client": "device", "uplink": "uplink", "downlink": "downlink", "idle": "waiting", "server": "server"}
SPANS_A_CHUNK = 5_000  # between two calls of `on_spans`


def write_trace(
    run: RunRecords, file: Path, rounds: range | None = None, on_spans: Callable[[int, int], None] | None = None
) -> int:
    """Write the trace of a run, compressed where the file's name ends in `.gz`.

    Args:
        run: its records.
        file: where to.
        rounds: those that are wanted; None: all.
        on_spans: is told how many spans are written, of how many.

    Returns:
        The number of spans in it.

    Raises:
        ValueError: there is no single span of these rounds.
        OSError: the file cannot be written.
    """
    spans = _wanted_spans(run, rounds)
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "wt", encoding="utf-8") as out:
        out.write('{"displayTimeUnit": "ms", "traceEvents": [')
        between = "\n"
        for written, events in _chunks(run, spans):
            for event in events:
                out.write(between + json.dumps(event, allow_nan=False))
                between = ",\n"
            if on_spans is not None:
                on_spans(written, len(spans))
        out.write("\n]}\n")
    return len(spans)


def _wanted_spans(run: RunRecords, rounds: range | None) -> pd.DataFrame:
    if run.span_detail != "steps":
        raise ValueError(f"the run kept no single spans (execution.spans: {run.span_detail}): a trace is made of them")
    chunks = [chunk if rounds is None else chunk[chunk["round"].isin(rounds)] for chunk in run.span_chunks()]
    spans = pd.concat(chunks, ignore_index=True)
    if spans.empty and rounds is not None:
        told = f"round {rounds[0]}" if len(rounds) == 1 else f"rounds {rounds[0]} to {rounds[-1]}"
        raise ValueError(f"there are no spans of {told}: the run has {len(run.rounds)} rounds")
    spans = spans.assign(start=_microseconds(spans["start_s"]), end=_microseconds(spans["end_s"]))
    own = (spans["actor"] == "server") | (spans["client"] == SERVER_CLIENT)
    return _with_lanes(spans.assign(process=np.where(own, SERVER, FIRST_CLIENT + spans["client"])))


def _with_lanes(spans: pd.DataFrame) -> pd.DataFrame:
    """Add a lane to each span: 0, but on tracks where some overlap."""
    spans = spans.sort_values(["process", "actor", "start_s", "span_id"], ignore_index=True)
    tracks = spans.groupby(["process", "actor"], observed=True)
    ended_s = tracks["end_s"].cummax().groupby([spans["process"], spans["actor"]], observed=True).shift()
    overlaps = spans["start_s"] < ended_s
    spans = spans.assign(lane=0)
    for key in spans.loc[overlaps, ["process", "actor"]].drop_duplicates().itertuples(index=False, name=None):
        part = tracks.get_group(key)
        spans.loc[part.index, "lane"] = free_lanes(part)
    return spans


def _chunks(run: RunRecords, spans: pd.DataFrame) -> Iterator[tuple[int, Iterator[Event]]]:
    """Yield how many spans are written after each part of the events, and the part."""
    tracks = spans[["process", "actor", "lane"]].drop_duplicates()
    first = int(spans["process"].max()) + 1  # a thread of its process's number would be its main thread
    threads = {track: first + place for place, track in enumerate(tracks.itertuples(index=False, name=None))}
    keys = zip(spans["process"], spans["actor"], spans["lane"], strict=True)
    spans = spans.assign(thread=[threads[key] for key in keys])
    yield 0, _names(run, threads)
    yield 0, _of_the_run(run, spans)
    yield 0, _cuts(run, spans)
    for start in range(0, len(spans), SPANS_A_CHUNK):
        part = spans.iloc[start : start + SPANS_A_CHUNK]
        yield start + len(part), _slices(part)
    yield len(spans), _arrows(spans)


def _name(what: str, process: int, name: str, thread: int = 0) -> Event:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _names(run: RunRecords, threads: dict[tuple[int, str, int], int]) -> Iterator[Event]:
    """Name processes and threads, and put them in order."""
    labels = {FIRST_CLIENT + client: f"client {label}" for client, label in client_labels(run).items()}
    labels |= {RUN: f"run {run_name(run)}", SERVER: "server"}
    shown = {RUN, *(process for process, _, _ in threads)}
    for process in sorted(shown):
        yield _name("process_name", process, labels[process])
        yield {"ph": "M", "name": "process_sort_index", "pid": process, "args": {"sort_index": process}}
    order = list(TRACKS)
    for (process, actor, lane), thread in threads.items():
        yield _name("thread_name", process, TRACKS[actor] if lane == 0 else f"{TRACKS[actor]} {lane + 1}", thread)
        place = order.index(actor) * len(threads) + lane
        yield {"ph": "M", "name": "thread_sort_index", "pid": process, "tid": thread, "args": {"sort_index": place}}


def _of_the_run(run: RunRecords, spans: pd.DataFrame) -> Iterator[Event]:
    """Yield the rounds, and the perplexity after each that was evaluated."""
    shown = run.rounds[run.rounds["round"].isin(spans["round"].unique())]
    shown = shown.assign(start=_microseconds(shown["start_s"]), end=_microseconds(shown["end_s"]))
    for row in shown.to_dict("records"):
        args = {"clients": row["num_clients"], "up_bytes": row["up_bytes"], "down_bytes": row["down_bytes"]}
        yield _slice(f"round {row['round']}", RUN, RUN, row) | {"args": args}
    evals = evaluations(run)
    inside = evals["round"].between(int(shown["round"].min()) - 1, int(shown["round"].max()))
    evals = evals[inside & np.isfinite(evals["perplexity"])]
    yield from _counts("held-out", "perplexity", evals.assign(process=RUN, value=evals["perplexity"]), "time_s")


def _cuts(run: RunRecords, spans: pd.DataFrame) -> Iterator[Event]:
    clients = run.clients[run.clients["round"].isin(spans["round"].unique())]
    clients = clients.assign(process=FIRST_CLIENT + clients["client"], value=clients["cut"])
    yield from _counts("cut", "blocks", clients, "start_s")


def _counts(name: str, unit: str, frame: pd.DataFrame, moment_s: str) -> Iterator[Event]:
    for row in frame.assign(ts=_microseconds(frame[moment_s])).to_dict("records"):
        yield {"ph": "C", "name": name, "pid": row["process"], "ts": row["ts"], "args": {unit: row["value"]}}


def _slices(spans: pd.DataFrame) -> Iterator[Event]:
    for row in spans.to_dict("records"):
        args = {"round": row["round"], "client": row["client"], "span_id": row["span_id"]}
        args |= {"step": row["step"]} if row["step"] != OUTSIDE_STEPS else {}
        args |= {"num_bytes": row["num_bytes"]} if row["num_bytes"] else {}
        args |= {"energy_j": row["energy_j"]} if np.isfinite(row["energy_j"]) else {}
        yield _slice(row["kind"], row["process"], row["thread"], row) | {"args": args}


def _arrows(spans: pd.DataFrame) -> Iterator[Event]:
    """Yield an arrow from each span to those that it let begin on other tracks; an end binds to the slice about it."""
    spans = spans[spans["end"] > spans["start"]]
    spans = spans.assign(middle=(spans["start"] + spans["end"]) // 2)
    causes = spans.set_index("span_id")[["process", "thread", "middle"]].add_suffix("_cause")
    pairs = spans.join(causes, on="cause_id", how="inner")
    for row in pairs[pairs["thread"] != pairs["thread_cause"]].to_dict("records"):
        arrow = {"name": "let begin", "cat": "cause", "id": row["span_id"]}
        tail = {"pid": row["process_cause"], "tid": row["thread_cause"], "ts": row["middle_cause"]}
        head = {"pid": row["process"], "tid": row["thread"], "ts": row["middle"]}
        yield arrow | {"ph": "s"} | tail
        yield arrow | {"ph": "f", "bp": "e"} | head


def _microseconds(times_s: pd.Series) -> pd.Series:
    return (times_s * MICROSECONDS).round().astype("int64")


def _slice(name: str, process: int, thread: int, row: Mapping[Hashable, Any]) -> Event:
    lasts = row["end"] - row["start"]
    return {"ph": "X", "name": name, "pid": process, "tid": thread, "ts": row["start"], "dur": lasts}
