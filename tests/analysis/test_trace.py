import gzip
import json
from collections import defaultdict

import pandas as pd
import pytest

from analysis.trace import write_trace
from simulator.records.recorder import RunWriter
from simulator.records.runs import RoundRow, RunRecords
from tests.analysis.synthetic import synthetic_run
from tests.analysis.test_metrics import add_client, hand_made


def events_of(run: RunRecords, tmp_path, rounds=None) -> list[dict]:
    file = tmp_path / "trace.json"
    write_trace(run, file, rounds)
    return json.loads(file.read_text())["traceEvents"]


def named(events: list[dict], what: str) -> dict[tuple[int, int], str]:
    return {(event["pid"], event["tid"]): event["args"]["name"] for event in events if event["name"] == what}


def slices(events: list[dict]) -> pd.DataFrame:
    """Return the spans of a trace with the names of their processes and tracks."""
    processes = {process: name for (process, _), name in named(events, "process_name").items()}
    tracks = named(events, "thread_name")
    rows = [
        {**event["args"], "kind": event["name"], "process": processes[event["pid"]],
         "track": tracks[event["pid"], event["tid"]], "start": event["ts"], "end": event["ts"] + event["dur"]}
        for event in events if event["ph"] == "X" and "span_id" in event["args"]
    ]  # fmt: skip
    return pd.DataFrame(rows).sort_values("span_id", ignore_index=True)


def test_every_span_is_there_once_where_its_time_was_spent(tmp_path):
    run = hand_made()
    told = slices(events_of(run, tmp_path))
    assert list(told["span_id"]) == list(run.spans["span_id"])
    assert list(told["start"]) == list(run.spans["start_s"] * 1_000_000)
    assert list(told["end"]) == list(run.spans["end_s"] * 1_000_000)
    places = told.set_index("span_id")[["process", "track"]].apply(tuple, axis=1)
    assert places[0] == ("client 0 device-0", "device")
    assert places[2] == ("client 1 device-1", "uplink")
    assert places[4] == ("server", "server")  # for client 0
    assert places[5] == ("client 1 device-1", "waiting")
    assert told["num_bytes"].sum() == run.spans["num_bytes"].sum()
    assert "step" not in json.dumps([e for e in events_of(run, tmp_path) if e["name"] == "aggregate"])


def test_spans_of_one_track_never_overlap(tmp_path):
    writer = RunWriter(None, {"scenario": {"name": "overlapping", "evaluation": {"targets": {"perplexity": []}}}})
    for start_s, end_s in ((0.0, 0.3000001), (0.3000001, 0.7), (0.1, 0.5), (0.2, 0.6), (0.6, 0.65)):
        writer.spans.add("upload_activations", "uplink", 0, 1, 0, start_s, end_s, 8)
    add_client(writer, 1, 0, 2)
    writer.end_round(RoundRow(1, 0.0, 1.0, 1, 40, 0, None))
    told = slices(events_of(writer.finish(), tmp_path))
    assert list(told["track"]) == ["uplink", "uplink", "uplink 2", "uplink 3", "uplink 2"]
    for _, track in told.groupby("track"):
        ordered = track.sort_values("start")
        assert (ordered["start"].to_numpy()[1:] >= ordered["end"].to_numpy()[:-1]).all()


def test_arrows_lead_from_a_span_to_what_it_let_begin_elsewhere(tmp_path):
    run = synthetic_run(num_rounds=2)
    events = events_of(run, tmp_path)
    inside = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            inside[event["pid"], event["tid"]].append(event)

    def at(end: dict) -> int:
        about = [
            event["args"]["span_id"]
            for event in inside[end["pid"], end["tid"]]
            if event["ts"] <= end["ts"] < event["ts"] + event["dur"]
        ]
        assert len(about) == 1
        return about[0]

    tails = {event["id"]: at(event) for event in events if event["ph"] == "s"}
    heads = {event["id"]: at(event) for event in events if event["ph"] == "f"}
    causes = dict(zip(run.spans["span_id"], run.spans["cause_id"], strict=True))
    assert {causes[heads[arrow]] for arrow in heads} == set(tails.values())
    assert all(causes[heads[arrow]] == tails[arrow] for arrow in heads)
    actors = dict(zip(run.spans["span_id"], zip(run.spans["actor"], run.spans["client"], strict=True), strict=True))
    elsewhere = [span for span, cause in causes.items() if cause in causes and actors[cause] != actors[span]]
    served_in_turn = [span for span in elsewhere if actors[span][0] == actors[causes[span]][0] == "server"]
    assert sorted(heads.values()) == sorted(set(elsewhere) - set(served_in_turn))


def test_rounds_cuts_and_perplexity_are_told_beside_the_spans(tmp_path):
    run = synthetic_run(num_rounds=4)
    events = events_of(run, tmp_path, range(2, 4))
    assert [event["name"] for event in events if event["name"].startswith("round ")] == ["round 2", "round 3"]
    assert set(slices(events)["round"]) == {2, 3}
    counted = [event for event in events if event["ph"] == "C"]
    cuts = [event["args"]["blocks"] for event in counted if event["name"] == "cut"]
    assert cuts == list(run.clients[run.clients["round"].isin([2, 3])]["cut"])
    perplexities = [event["args"]["perplexity"] for event in counted if event["name"] == "held-out"]
    assert perplexities == list(run.evals["perplexity"][1:4])  # before the first of them, and after each


def test_a_compressed_trace_is_the_same_and_says_how_far_it_is(tmp_path):
    run = synthetic_run(num_rounds=2)
    told = []
    write_trace(run, tmp_path / "t.json.gz", on_spans=lambda written, total: told.append((written, total)))
    with gzip.open(tmp_path / "t.json.gz", "rt") as file:
        assert json.load(file)["traceEvents"] == events_of(run, tmp_path)
    assert told[-1] == (len(run.spans), len(run.spans))


def test_a_round_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="no spans of rounds 3 to 5: the run has 2 rounds"):
        write_trace(synthetic_run(num_rounds=2), tmp_path / "t.json", range(3, 6))
    assert not (tmp_path / "t.json").exists()
