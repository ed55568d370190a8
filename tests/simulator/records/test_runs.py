import json
import math
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from simulator.records.runs import SPAN_KINDS, SPANS_SCHEMA, TABLE_SCHEMAS, RunFolderError, read_meta, read_run
from tests.simulator.recorded import META, two_rounds

TABLES = ("spans", "rounds", "clients", "evals")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    two_rounds(tmp_path / "run")
    return tmp_path / "run"


def test_a_folder_gives_back_what_was_recorded(folder: Path) -> None:
    run = read_run(folder)
    assert run.folder == folder
    assert len(run.spans) == 8  # 4 spans in each of 2 rounds
    upload = run.spans.to_dict("records")[5]  # of round 2, which starts at 3.5 s: 3.5 + 2, + 1
    assert math.isnan(upload.pop("energy_j"))
    assert upload == {
        "span_id": 5, "cause_id": 4, "kind": "upload_adapter", "actor": "uplink", "client": 0, "round": 2, "step": -1,
        "start_s": 5.5, "end_s": 6.5, "num_bytes": 100,
    }  # fmt: skip
    second = run.clients.to_dict("records")[1]
    assert [second[name] for name in ("round", "device", "cut", "train_loss")] == [2, "rpi5-8gb", 2, 4.5]
    assert run.clients["val_loss"].isna().all()
    assert run.rounds["end_s"].to_list() == [3.5, 7.0]
    assert run.evals["client"].to_list() == [-1, -1]


def test_a_run_in_memory_gives_the_same_records_as_one_in_a_folder(folder: Path) -> None:
    kept, read = two_rounds(), read_run(folder)
    assert kept.folder is None
    assert kept.meta == read.meta
    for name in TABLES:
        assert_frame_equal(getattr(kept, name), getattr(read, name))


def test_chunks_are_the_rounds_of_the_spans(folder: Path) -> None:
    run = read_run(folder)
    chunks = list(run.span_chunks())
    assert [chunk["round"].unique().tolist() for chunk in chunks] == [[1], [2]]
    assert_frame_equal(pd.concat(chunks, ignore_index=True), run.spans)


def test_run_json_holds_the_meta_and_says_finished(folder: Path) -> None:
    meta = read_meta(folder)
    assert meta["status"] == "finished"
    assert meta["scenario"] == META["scenario"]
    assert meta["summary"] == {"num_rounds": 2}


def test_every_column_states_its_meaning_and_only_unknowable_values_may_be_missing() -> None:
    nullable = set()
    for schema in (SPANS_SCHEMA, *TABLE_SCHEMAS.values()):
        assert all(field.metadata[b"meaning"] for field in schema)
        nullable |= {field.name for field in schema if field.nullable}
    assert nullable == {"energy_j", "train_loss", "val_loss", "token_accuracy", "staleness"}


def test_kinds_keep_the_order_of_a_round_as_categories(folder: Path) -> None:
    assert read_run(folder).spans["kind"].cat.categories.to_list() == list(SPAN_KINDS)


def rewrite_meta(folder: Path, **changes: object) -> None:
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="nowhere: no such run folder"):
        read_run(tmp_path / "nowhere")


def test_a_folder_without_run_json_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder: it has no run"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '"run"'])
def test_somebody_elses_run_json_is_no_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunFolderError, match="states no schema"):
        read_run(tmp_path)


def test_a_broken_run_json_is_damage(folder: Path) -> None:
    (folder / "run.json").write_text('{"schema": 1, ')
    with pytest.raises(RunFolderError, match=r"run\.json: damaged run folder"):
        read_run(folder)


def test_another_schema_is_refused_with_both_versions(folder: Path) -> None:
    rewrite_meta(folder, schema=7)
    with pytest.raises(RunFolderError, match="written with schema 7; this version reads schema 1"):
        read_run(folder)


def test_an_unfinished_run_is_refused_with_its_reason(folder: Path) -> None:
    rewrite_meta(folder, status="running")
    with pytest.raises(RunFolderError, match="still running, or it was killed"):
        read_run(folder)
    rewrite_meta(folder, status="failed", error="MemoryError: 3 GiB")
    with pytest.raises(RunFolderError, match="not finished: failed: MemoryError: 3 GiB"):
        read_run(folder)
    assert read_meta(folder)["status"] == "failed"


@pytest.mark.parametrize("name", ["rounds", "clients", "evals"])
def test_a_missing_table_is_damage(folder: Path, name: str) -> None:
    (folder / f"{name}.parquet").unlink()
    with pytest.raises(RunFolderError, match=rf"{name}\.parquet: damaged run folder"):
        _ = getattr(read_run(folder), name)


def test_a_missing_round_of_spans_is_damage(folder: Path) -> None:
    (folder / "spans" / "round-000002.parquet").unlink()
    with pytest.raises(RunFolderError, match="spans/ is not what the run recorded"):
        _ = read_run(folder).spans
    with pytest.raises(RunFolderError, match="spans/ is not what the run recorded"):
        list(read_run(folder).span_chunks())


def test_another_table_under_a_tables_name_is_damage(folder: Path) -> None:
    (folder / "rounds.parquet").write_bytes((folder / "evals.parquet").read_bytes())
    with pytest.raises(RunFolderError, match="its columns are not those of schema 1"):
        _ = read_run(folder).rounds


def test_a_flipped_byte_is_refused_or_harmless(folder: Path) -> None:
    file = folder / "rounds.parquet"
    data, expected = file.read_bytes(), read_run(folder).rounds
    num_refused = 0
    for place in range(0, len(data), 23):
        file.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            assert_frame_equal(read_run(folder).rounds, expected)
        except RunFolderError:
            num_refused += 1
    assert num_refused > 10
