import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.records.recorder import RunWriter
from simulator.records.runs import ACTORS, SPAN_KINDS, RoundRow, RunFolderError, read_meta, read_run
from tests.simulator.recorded import META, record_round, two_rounds


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_equal_runs_write_equal_bytes(tmp_path: Path) -> None:
    two_rounds(tmp_path / "a")
    two_rounds(tmp_path / "b")
    first = contents(tmp_path / "a")
    assert list(first) == [
        "clients.parquet", "evals.parquet", "rounds.parquet", "run.json",
        "spans/round-000001.parquet", "spans/round-000002.parquet",
    ]  # fmt: skip
    assert contents(tmp_path / "b") == first


def test_ids_count_up_and_are_given_back_as_causes() -> None:
    spans = RunWriter(None, {}).spans
    assert [spans.add("offline", "idle", 0, 1, -1, 0.0, 1.0) for _ in range(3)] == [0, 1, 2]


Span: TypeAlias = tuple[str, str, int, float, float, int, float | None]
SPANS = st.lists(
    st.tuples(
        st.sampled_from(list(SPAN_KINDS)),
        st.sampled_from(ACTORS),
        st.integers(-1, 9),  # client
        st.floats(0, 1e9),  # start_s
        st.floats(0, 1e3),  # duration_s
        st.integers(0, 2**40),  # num_bytes
        st.none() | st.floats(0, 1e3),  # energy_j
    ),
    min_size=1,
    max_size=12,
)


def sha256_of(spans: list[Span], rounds: list[int]) -> str:
    """Return the digest of spans of which as many as `rounds` says are flushed at a time."""
    writer = RunWriter(None, {})
    left = list(spans)
    for number, size in enumerate([*rounds, len(spans)], start=1):
        for kind, actor, client, start_s, duration_s, num_bytes, energy_j in left[:size]:
            writer.spans.add(kind, actor, client, 1, 0, start_s, start_s + duration_s, num_bytes, -1, energy_j)
        writer.spans.flush_round(number)
        left = left[size:]
    return writer.spans.sha256


@settings(deadline=None, max_examples=20)
@given(spans=SPANS, rounds=st.lists(st.integers(0, 5), max_size=4))
def test_the_digest_does_not_depend_on_how_spans_are_stored(spans: list[Span], rounds: list[int]) -> None:
    assert sha256_of(spans, rounds) == sha256_of(spans, [])


@settings(deadline=None, max_examples=20)
@given(spans=SPANS)
def test_the_digest_sees_every_value(spans: list[Span]) -> None:
    kind, actor, client, start_s, duration_s, num_bytes, _ = spans[-1]
    other = [
        ("offline" if kind != "offline" else "aggregate", actor, client, start_s, duration_s, num_bytes, None),
        (kind, "idle" if actor != "idle" else "client", client, start_s, duration_s, num_bytes, None),
        (kind, actor, client + 1, start_s, duration_s, num_bytes, None),
        (kind, actor, client, start_s + 1.0, duration_s, num_bytes, None),
        (kind, actor, client, start_s, duration_s + 1.0, num_bytes, None),
        (kind, actor, client, start_s, duration_s, num_bytes + 1, None),
        (kind, actor, client, start_s, duration_s, num_bytes, 2e3),
    ]
    without_energy = [*spans[:-1], (kind, actor, client, start_s, duration_s, num_bytes, None)]
    digests = {sha256_of([*spans[:-1], changed], []) for changed in other}
    assert len(digests) == len(other)
    assert sha256_of(without_energy, []) not in digests


def test_the_digest_in_run_json_is_the_same_with_and_without_a_folder(tmp_path: Path) -> None:
    assert two_rounds(tmp_path / "run").meta["spans_sha256"] == two_rounds().meta["spans_sha256"]


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (("client_forwrd", "client", 0, 1, 0, 0.0, 1.0), "unknown kind 'client_forwrd' of a span"),
        (("client_forward", "phone", 0, 1, 0, 0.0, 1.0), "unknown actor 'phone' of a span; known: client, uplink"),
        (("client_forward", "client", 0, 1, 0, 0.0, NAN), "end_s is not finite"),
        (("client_forward", "client", 0, 1, 0, NAN, 1.0), "start_s is not finite"),
        (("client_forward", "client", 0, 1, 0, 0.0, INFINITY), "end_s is not finite"),
        (("client_forward", "client", 0, 1, 0, 2.0, 1.0), "end_s lies before start_s"),
        (("upload_labels", "uplink", 0, 1, 0, 0.0, 1.0, -8), "num_bytes is negative"),
        (("client_forward", "client", None, 1, 0, 0.0, 1.0), "client is missing"),
    ],
)
def test_a_span_that_cannot_be_is_refused(span: tuple[object, ...], message: str) -> None:
    writer = RunWriter(None, {})
    writer.spans.add(*span)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        writer.spans.flush_round(1)


def test_a_round_is_stored_once() -> None:
    writer = RunWriter(None, {})
    record_round(writer, 1)
    with pytest.raises(ValueError, match="round 1 cannot be stored after round 1"):
        writer.end_round(RoundRow(1, 0.0, 1.0, 1, 0, 0, None))


def test_spans_after_the_last_round_are_not_lost_silently() -> None:
    writer = RunWriter(None, {})
    record_round(writer, 1)
    writer.spans.add("offline", "idle", 0, 2, -1, 3.5, 4.0)
    with pytest.raises(RuntimeError, match="1 spans were added after the last round"):
        writer.finish()


def test_records_so_far_can_be_read_before_the_end(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", META)
    record_round(writer, 1)
    assert len(writer.records().spans) == 4
    record_round(writer, 2)
    records = writer.records()
    assert (len(records.spans), len(records.rounds), records.meta["status"]) == (8, 2, "running")
    with pytest.raises(RunFolderError, match="not finished"):
        read_run(tmp_path / "run")


def test_a_value_that_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunWriter(None, {"loss": NAN})


def test_an_existing_folder_is_left_as_it_is(tmp_path: Path) -> None:
    two_rounds(tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError):
        RunWriter(tmp_path / "run", {})
    assert contents(tmp_path) == before


def fail_after(folder: Path, num_rounds: int, error: BaseException) -> None:
    with RunWriter(folder, META) as writer:
        for number in range(1, num_rounds + 1):
            record_round(writer, number)
        raise error


def test_a_failure_before_anything_was_finished_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        fail_after(tmp_path / "runs" / "a", 0, MemoryError("3 GiB"))
    assert not (tmp_path / "runs" / "a").exists()


def test_a_failure_keeps_the_finished_rounds_and_its_reason(tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        fail_after(tmp_path / "run", 1, MemoryError("3 GiB"))
    assert sorted(contents(tmp_path / "run")) == ["run.json", "spans/round-000001.parquet"]
    meta = read_meta(tmp_path / "run")
    assert (meta["status"], meta["error"], meta["scenario"]) == ("failed", "MemoryError: 3 GiB", META["scenario"])
    with pytest.raises(RunFolderError, match="failed: MemoryError: 3 GiB"):
        read_run(tmp_path / "run")


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail_after(tmp_path / "run", 1, KeyboardInterrupt())
    assert read_meta(tmp_path / "run")["status"] == "interrupted"


def fail_with_a_result(folder: Path) -> None:
    with RunWriter(folder, META):
        (folder / "results").mkdir()
        (folder / "results" / "task.json").write_text("{}")
        raise MemoryError


def test_a_failure_keeps_results_that_others_put_into_the_folder(tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        fail_with_a_result(tmp_path / "run")
    assert sorted(contents(tmp_path / "run")) == ["results/task.json", "run.json"]


def fail_after_the_end(folder: Path) -> None:
    with RunWriter(folder, META) as writer:
        record_round(writer, 1)
        writer.finish()
        raise RuntimeError("a picture could not be drawn")


def test_an_error_after_the_end_does_not_undo_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fail_after_the_end(tmp_path / "run")
    assert len(read_run(tmp_path / "run").spans) == 4


def test_a_killed_run_does_not_look_whole(tmp_path: Path) -> None:
    code = (
        "import os; from pathlib import Path; from simulator.records.recorder import RunWriter;"
        "from tests.simulator.recorded import record_round;"
        f"writer = RunWriter(Path({str(tmp_path / 'run')!r}), {{}}); record_round(writer, 1); writer.records();"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == -9
    with pytest.raises(RunFolderError, match="still running, or it was killed"):
        read_run(tmp_path / "run")


def test_a_crash_while_a_file_is_written_keeps_its_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = RunWriter(tmp_path / "run", META)
    record_round(writer, 1)
    started = (tmp_path / "run" / "run.json").read_bytes()

    def crash(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="no space left"):
        writer.finish()
    assert (tmp_path / "run" / "run.json").read_bytes() == started
    assert json.loads(started)["status"] == "running"
    assert not (tmp_path / "run" / "rounds.parquet").exists()


def test_run_json_becomes_finished_after_every_other_file_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    replace = Path.replace

    def watch(self: Path, target: Path) -> Path:
        order.append(str(target.relative_to(tmp_path / "run")))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    two_rounds(tmp_path / "run")
    assert order == [
        "run.json", "spans/round-000001.parquet", "spans/round-000002.parquet",
        "rounds.parquet", "clients.parquet", "evals.parquet", "run.json",
    ]  # fmt: skip
