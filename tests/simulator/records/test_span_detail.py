"""How much of where the time went is written down, and what readers make of it."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

import splitft
from analysis.frames import span_totals
from analysis.plots import figure, picture_names
from simulator.records import parquet_files
from simulator.records.recorder import RunWriter
from simulator.records.runs import RunFolderError, RunRecords, read_run
from simulator.scenario import Scenario, fingerprint_payload
from tests.simulator.recorded import META, record_round
from tests.small_run import small

KEYS = ["round", "client", "actor", "kind"]
SUMS = ["client_time", "bytes", "cuts", "client_time_by_round"]  # pictures that need no single spans


def scenario(spans: str) -> Scenario:
    workload = {"dataset": "lengths", "max_length_tokens": 32, "batch_size": 2, "local_steps": 2}
    return small(workload=workload, execution={"trainer": "cost-only", "spans": spans})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, splitft.Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {spans: splitft.run(scenario(spans), folder / spans) for spans in ("steps", "rounds", "none")}


def record(detail: str, folder: Path | None = None) -> RunRecords:
    """Return a tiny run of two rounds, written down as said."""
    with RunWriter(folder, META, spans=detail) as writer:
        record_round(writer, 1)
        record_round(writer, 2)
        return writer.finish()


@pytest.mark.parametrize("detail", ["rounds", "none"])
def test_times_bytes_and_identity_are_the_same_at_every_detail(runs: dict[str, splitft.Run], detail: str) -> None:
    full, brief = runs["steps"], runs[detail]
    pd.testing.assert_frame_equal(brief.rounds, full.rounds)
    pd.testing.assert_frame_equal(brief.clients, full.clients)
    assert fingerprint_payload(scenario(detail)) == fingerprint_payload(scenario("steps"))
    assert brief.records.meta["fingerprint"] == full.records.meta["fingerprint"]
    assert brief.summary.simulated_s == full.summary.simulated_s
    assert brief.summary.num_cut_changes == full.summary.num_cut_changes


def test_sums_by_round_are_those_of_the_spans(runs: dict[str, splitft.Run]) -> None:
    full, sums = (
        span_totals(runs[detail].records).sort_values(KEYS, ignore_index=True) for detail in ("steps", "rounds")
    )
    pd.testing.assert_frame_equal(sums, full[sums.columns], check_categorical=False, check_dtype=False, rtol=1e-12)
    assert runs["rounds"].summary.up_bytes == runs["steps"].summary.up_bytes
    assert runs["rounds"].summary.slowest == pytest.approx(runs["steps"].summary.slowest)
    assert runs["rounds"].spans.empty


def test_each_detail_writes_only_its_own_files(runs: dict[str, splitft.Run]) -> None:
    def parquet_folders(detail: str) -> set[str]:
        return {path.parent.name for path in runs[detail].folder.rglob("round-*.parquet")}

    assert [parquet_folders(detail) for detail in ("steps", "rounds", "none")] == [{"spans"}, {"totals"}, set()]
    assert [runs[detail].records.span_detail for detail in ("steps", "rounds", "none")] == ["steps", "rounds", "none"]
    assert runs["none"].records.meta["spans_sha256"] == hashlib.sha256().hexdigest()


def test_without_spans_a_summary_still_has_all_bytes(runs: dict[str, splitft.Run]) -> None:
    full, brief = runs["steps"].summary, runs["none"].summary
    assert brief.up_bytes == {"upload_total": sum(full.up_bytes.values())}
    assert brief.down_bytes == {"download_total": sum(full.down_bytes.values())}
    assert brief.slowest is None


def test_only_pictures_are_offered_that_can_be_drawn(runs: dict[str, splitft.Run]) -> None:
    assert picture_names(runs["steps"].records) == [*SUMS, "timeline_round_002"]
    assert picture_names(runs["rounds"].records) == SUMS
    assert picture_names(runs["none"].records) == ["cuts"]
    assert {path.stem for path in (runs["rounds"].folder / "plots").iterdir()} == set(SUMS)
    with pytest.raises(ValueError, match=r"round 1 has no spans; .* keeps no single spans \(execution\.spans\)"):
        figure(runs["rounds"].records, "timeline_round_001")


def test_a_sum_counts_spans_and_ends_with_the_last_one() -> None:
    with RunWriter(None, {}, spans="rounds") as writer:
        assert writer.spans.add("client_forward", "client", 3, 1, 1, 1.0, 1.5, 0, -1, 2.0) == -1  # spans have no ids
        writer.spans.add("client_forward", "client", 3, 1, 2, 2.0, 2.25, 0, -1, 0.5)
        writer.spans.add("upload_labels", "uplink", 3, 1, 1, 1.5, 2.0, 40, -1, 1.0)
        writer.spans.add("upload_labels", "uplink", 3, 1, 2, 2.25, 3.0, 50, -1, None)
        writer.spans.flush_round(1)
        (totals,) = writer.records().total_chunks()
    forward, upload = totals.to_dict("records")
    # 0.5 + 0.25 s and 2 + 0.5 J; of the uploads one has no energy, so together they have none
    assert (forward["num_spans"], forward["duration_s"], forward["end_s"], forward["energy_j"]) == (2, 0.75, 2.25, 2.5)
    assert (upload["num_bytes"], upload["duration_s"], pd.isna(upload["energy_j"])) == (90, 1.25, True)


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (("nap", "client", 0, 1, 1, 0.0, 1.0), "unknown kind 'nap'"),
        (("offline", "idle", 0, 1, 1, 2.0, 1.0), "a span ended before it started"),
        (("offline", "idle", 0, 1, 1, 0.0, float("nan")), "is not finite"),
    ],
)
def test_a_wrong_cost_does_not_become_a_sum_either(span: tuple[object, ...], message: str) -> None:
    spans = RunWriter(None, {}, spans="rounds").spans
    spans.add(*span)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        spans.flush_round(1)


def test_damaged_sums_are_found(tmp_path: Path) -> None:
    record("rounds", tmp_path / "run")
    (tmp_path / "run" / "totals" / "round-000002.parquet").unlink()
    with pytest.raises(RunFolderError, match="totals/ is not what the run recorded"):
        list(read_run(tmp_path / "run").total_chunks())


def test_spans_left_behind_by_an_attempt_with_more_detail_are_gone_in_the_end(tmp_path: Path) -> None:
    from simulator.records.recorder import RunLock

    record("steps", tmp_path / "run")
    with RunWriter(tmp_path / "run", META, spans="rounds", lock=RunLock(tmp_path / "run")) as writer:
        record_round(writer, 1)
        writer.finish()
    assert read_run(tmp_path / "run").span_detail == "rounds"


def test_a_long_table_goes_to_disk_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = record("steps", tmp_path / "at-once")
    monkeypatch.setattr(parquet_files, "ROWS_PER_GROUP", 1)
    aside = tmp_path / "grown" / ".clients.parquet.tmp"
    with RunWriter(tmp_path / "grown", META) as writer:
        record_round(writer, 1)
        assert aside.exists()
        record_round(writer, 2)
        grown = writer.finish()
    assert not aside.exists()
    for name in ("clients", "rounds", "evals"):
        pd.testing.assert_frame_equal(getattr(grown, name), getattr(at_once, name))
    again = record("steps", tmp_path / "again")
    assert (again.folder / "clients.parquet").read_bytes() == (grown.folder / "clients.parquet").read_bytes()
    pd.testing.assert_frame_equal(record("steps").clients, at_once.clients)


def test_a_table_that_went_to_disk_takes_no_row_once_it_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_files, "ROWS_PER_GROUP", 1)
    writer = RunWriter(tmp_path / "run", META)
    record_round(writer, 1)
    writer.records()
    with pytest.raises(RuntimeError, match="clients was added after the table was saved"):
        record_round(writer, 2)


def test_a_run_that_fails_leaves_no_half_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "ROWS_PER_GROUP", 1)

    def fail() -> None:
        with RunWriter(tmp_path / "run", META) as writer:
            record_round(writer, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
    assert not list((tmp_path / "run").rglob("*clients*"))
