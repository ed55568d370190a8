"""Results kept on disk: whole or not there, checked, bounded, shared by processes; never in the way of a run."""

import errno
import json
import logging
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads import store as store_module
from workloads.files import StateFolder, remove_abandoned, write_whole
from workloads.leases import Lease, needed_states
from workloads.results import DamagedError, Record, SavedState, open_state, seal
from workloads.run_results import RunResults
from workloads.store import MAX_BYTES, ResultStore, default_folder, default_max_bytes, store_variables
from workloads.tasks import EvalResult, EvalTask, TrainResult, TrainTask

STATE_FLOATS = 1000  # 4,000 bytes of values, a little more with names


def key_of(number: int) -> str:
    return f"{number:064x}"


def state_of(number: int) -> SavedState:
    return SavedState(
        arrays={"adapter/b": np.full(STATE_FLOATS, number, np.float32), "adapter/a": np.arange(3, dtype=np.float32)},
        fields={"adapter": {"tensors": ["b", "a"]}, "ranks": {"value": [16, 8]}},
    )


def sealed(number: int) -> tuple[Record, bytes]:
    """Return the record of a training task and the content of its state's file."""
    content = state_of(number).to_bytes()
    result = TrainResult(key=key_of(number), losses=(4.5, 1 / 3), num_tokens=7)
    digest = store_digest(content)
    return Record(kind="TrainTask", key=result.key, result=result, state=digest), content


def store_digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def keep(memory: ResultStore | RunResults, *numbers: int) -> None:
    for number in numbers:
        record, content = sealed(number)
        memory.keep(record, content)


def same(one: SavedState, other: SavedState) -> bool:
    arrays = all(np.array_equal(one.arrays[name], other.arrays[name]) for name in other.arrays)
    return arrays and one.arrays.keys() == other.arrays.keys() and one.fields == other.fields


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def state_files(folder: Path) -> list[Path]:
    return [path for path in files(folder) if path.suffix == ".safetensors"]


@pytest.fixture(params=["store", "run"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore | RunResults:
    return ResultStore(tmp_path / "m") if request.param == "store" else RunResults(tmp_path / "m")


def again(memory: ResultStore | RunResults) -> ResultStore | RunResults:
    """Return what another process would see."""
    return type(memory)(memory.folder)


# --- records and states


@given(
    losses=st.lists(st.floats(allow_nan=False), max_size=4),
    num_tokens=st.integers(0, 2**40),
    state=st.none() | st.just("ab"),
)
def test_a_record_comes_back_to_the_bit(losses: list[float], num_tokens: int, state: str | None) -> None:
    result = TrainResult(key="k", losses=tuple(losses), num_tokens=num_tokens)
    record = Record(kind=TrainTask.__name__, key="k", result=result, state=state)
    assert Record.from_json(record.to_json()) == record
    assert "\n" not in record.to_json()


def test_losses_that_are_no_numbers_are_kept_too() -> None:
    result = EvalResult(key="k", loss=math.nan, token_accuracy=math.inf, num_tokens=1)
    record = Record.from_json(Record(kind=EvalTask.__name__, key="k", result=result, state=None).to_json())
    assert isinstance(record.result, EvalResult)
    assert math.isnan(record.result.loss)
    assert record.result.token_accuracy == math.inf


@given(st.data())
def test_a_record_in_which_any_byte_is_another_is_damaged(data: st.DataObject) -> None:
    text = sealed(1)[0].to_json().encode()
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != text[place]))
    changed = text[:place] + bytes([byte]) + text[place + 1 :]
    with pytest.raises(DamagedError):
        Record.from_json(changed)


def test_a_state_comes_back_with_its_arrays_and_their_order() -> None:
    record, content = sealed(3)
    assert record.state is not None
    state = open_state(content, record.state)
    assert same(state, state_of(3))
    assert list(state.tensors("adapter")) == ["b", "a"]


def test_equal_states_are_equal_bytes() -> None:
    assert state_of(2).to_bytes() == state_of(2).to_bytes() != state_of(3).to_bytes()


def test_a_file_that_is_no_state_is_damaged() -> None:
    for content in (b"", b"\x08\0\0\0\0\0\0\0{}      ", os.urandom(64)):
        with pytest.raises(DamagedError):
            SavedState.from_bytes(content)


def test_sealing_names_the_kind_the_key_and_the_content() -> None:
    from tests.workloads.test_tasks import EVAL, TRAIN

    record, content = seal(TRAIN, TrainResult(key=TRAIN.key, losses=(1.0,), num_tokens=3), state_of(1))
    assert content == state_of(1).to_bytes()
    assert (record.kind, record.key, record.state) == ("TrainTask", TRAIN.key, store_digest(content))
    result = EvalResult(key=EVAL.key, loss=1.0, token_accuracy=0.5, num_tokens=2)
    assert seal(EVAL, result, None) == (Record(kind="EvalTask", key=EVAL.key, result=result, state=None), None)


# --- both memories


def test_what_is_kept_is_recalled_by_another_process(memory: ResultStore | RunResults) -> None:
    keep(memory, 1, 2)
    record = again(memory).recall(key_of(2))
    assert record == sealed(2)[0]
    state = again(memory).load(record)
    assert state is not None
    assert same(state, state_of(2))
    assert again(memory).recall(key_of(3)) is None


def test_nothing_is_written_before_something_is_kept(memory: ResultStore | RunResults) -> None:
    assert memory.recall(key_of(1)) is None
    assert memory.load(sealed(1)[0]) is None
    memory.release([])
    memory.close()
    assert not memory.folder.exists()


def test_files_appear_whole_and_synced(memory: ResultStore | RunResults, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, renamed = [], []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_ino), fsync(handle))[1])

    def watch(self: Path, target: Path) -> Path:
        renamed.append((self.stat().st_ino, target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    keep(memory, 1)
    memory.release([])
    atomic = {target: number for number, target in renamed}
    for path in files(memory.folder):
        if path.suffix in {".safetensors", ".json"} and path.parent.name != "live":
            assert atomic[path] in synced


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_state_is_reported_and_no_result(
    memory: ResultStore | RunResults, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    keep(memory, 1)
    [file] = state_files(memory.folder)
    content = file.read_bytes()
    file.write_bytes({"flip": content[:-1] + b"\x01", "truncate": content[:-9], "empty": b""}[damage])
    record = memory.recall(key_of(1)) or sealed(1)[0]
    assert again(memory).load(record) is None
    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    assert f"{file} is damaged (its checksum is wrong): what it held is computed again" in caplog.text
    keep(memory, 1)  # what is computed again is kept again
    assert again(memory).load(record) is not None


def test_a_state_that_cannot_be_read_is_reported_and_no_result(
    memory: ResultStore | RunResults, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(memory, 1)

    def broken(_: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", broken)
    assert memory.load(sealed(1)[0]) is None
    assert "cannot be read" in caplog.text


def full_disk(monkeypatch: pytest.MonkeyPatch, *, after_bytes: int = 0) -> None:
    """Let every file take so many bytes more and no others."""
    open_ = Path.open

    class Full:
        def __init__(self, file) -> None:
            self._file = file

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, content: bytes) -> int:
            self._file.write(content[:after_bytes])
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name: str) -> object:
            return getattr(self._file, name)

    def watched(self: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        file = open_(self, mode, *args, **kwargs)
        return Full(file) if set(mode) & set("wa") else file

    monkeypatch.setattr(Path, "open", watched)


@pytest.mark.parametrize("after_bytes", [0, 100])
def test_a_full_disk_means_one_warning_and_nothing_lost(
    memory: ResultStore | RunResults, caplog: pytest.LogCaptureFixture, after_bytes: int
) -> None:
    keep(memory, 1)
    with pytest.MonkeyPatch.context() as patch:
        full_disk(patch, after_bytes=after_bytes)
        keep(memory, 2, 3)
        memory.release([key_of(3)])
    assert len(caplog.records) == 1
    assert str(memory.folder) in caplog.text
    assert "No space left on device" in caplog.text
    assert not list(memory.folder.rglob("*.tmp"))
    found = again(memory)
    record = found.recall(key_of(1))
    assert record is not None
    assert found.load(record) is not None
    assert found.recall(key_of(2)) is None
    keep(memory, 4)  # there may be room again, but this process has given up
    assert again(memory).recall(key_of(4)) is None
    assert len(caplog.records) == 1


def test_equal_states_are_kept_once(memory: ResultStore | RunResults) -> None:
    record, content = sealed(1)
    other = Record(kind="TrainTask", key=key_of(2), result=None, state=record.state)
    memory.keep(record, content)
    memory.keep(other, content)
    assert len(state_files(memory.folder)) == 1


def test_what_killed_writers_left_is_removed_once_nobody_can_be_writing_it(tmp_path: Path) -> None:
    old, new = tmp_path / "a" / "x.tmp", tmp_path / "a" / "y.tmp"
    old.parent.mkdir()
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    remove_abandoned(tmp_path)
    assert files(tmp_path) == [new]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"before")

    def broken(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "file", b"after")
    assert files(tmp_path) == [tmp_path / "file"]
    assert (tmp_path / "file").read_bytes() == b"before"


# --- from one memory to the next


def test_a_twin_is_linked_rather_than_written_again(tmp_path: Path) -> None:
    store, run = ResultStore(tmp_path / "store"), RunResults(tmp_path / "run")
    record, content = sealed(1)
    twin = store.keep(record, content)
    path = run.note(record, twin)
    assert path is not None
    assert twin is not None
    assert path.samefile(twin)
    assert RunResults(tmp_path / "run").recall(record.key) == record
    twin.unlink()
    assert again(run).load(record) is not None


def test_a_twin_on_another_file_system_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def across(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    record, content = sealed(1)
    twin = ResultStore(tmp_path / "store").keep(record, content)
    path = StateFolder(tmp_path / "run").keep(record.state or "", None, twin)
    assert path is not None
    assert twin is not None
    assert path.read_bytes() == content
    assert not path.samefile(twin)


def test_a_twin_that_has_gone_is_no_error(tmp_path: Path) -> None:
    run = RunResults(tmp_path / "run")
    record, content = sealed(1)
    assert run.note(record, tmp_path / "gone") is None
    assert again(run).recall(record.key) == record
    assert again(run).load(record) is None
    run.keep(record, content)
    assert again(run).load(record) is not None


# --- a run's own results


def test_a_line_that_was_never_finished_is_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(RunResults(tmp_path), 1)
    journal = tmp_path / "tasks.jsonl"
    whole = journal.read_bytes()
    for half in (b"{", sealed(2)[0].to_json().encode()):
        journal.write_bytes(whole + half)
        run = RunResults(tmp_path)
        assert journal.read_bytes() == whole
        assert run.recall(key_of(1)) is not None
        assert run.recall(key_of(2)) is None
    assert not caplog.records  # that is what a kill leaves, no damage
    keep(RunResults(tmp_path), 2)
    assert RunResults(tmp_path).recall(key_of(2)) is not None


def test_a_damaged_line_is_reported_and_the_others_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(RunResults(tmp_path), 1, 2, 3)
    journal = tmp_path / "tasks.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"4.5", b"3.5")
    journal.write_bytes(b"".join(lines))
    run = RunResults(tmp_path)
    assert f"{journal}:2 is damaged" in caplog.text
    assert [run.recall(key_of(number)) is None for number in (1, 2, 3)] == [False, True, False]


def test_what_is_done_twice_is_one_line_of_the_journal(tmp_path: Path) -> None:
    # such as the measurement after a round in which nobody has learned: a resumed run would find it done
    keep(RunResults(tmp_path), 1, 2, 2)
    keep(RunResults(tmp_path), 2, 3, 3)
    assert len((tmp_path / "tasks.jsonl").read_text().splitlines()) == 3


def test_states_that_nothing_starts_from_any_more_go_and_records_stay(tmp_path: Path) -> None:
    run = RunResults(tmp_path)
    keep(run, 1, 2, 3)
    run.release([key_of(2)])
    assert [path.stem for path in state_files(tmp_path)] == [sealed(2)[0].state]
    found = RunResults(tmp_path)
    assert all(found.recall(key_of(number)) for number in (1, 2, 3))


def test_a_resumed_run_keeps_the_states_of_tasks_that_it_has_not_met_again_yet(tmp_path: Path) -> None:
    keep(RunResults(tmp_path), 1, 2, 3)
    run = RunResults(tmp_path)
    for number in (1, 2):
        record = run.recall(key_of(number))
        assert record is not None
        run.note(record)
    run.release([key_of(2)])
    assert len(state_files(tmp_path)) == 2  # of 2, which is needed, and of 3, which lies ahead
    run.release([])
    assert [path.stem for path in state_files(tmp_path)] == [sealed(3)[0].state]


def test_states_go_only_after_the_records_of_later_ones_are_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunResults(tmp_path)
    keep(run, 1, 2)
    order = []
    fsync, unlink = os.fsync, Path.unlink
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "unlink", lambda self, **kw: (order.append("remove"), unlink(self, **kw))[1])
    run.release([key_of(2)])
    assert order == ["sync", "remove"]


# --- the store


def test_the_store_stays_within_its_bound_and_forgets_what_was_used_longest_ago(tmp_path: Path) -> None:
    room = 10 * len(sealed(0)[1]) + 10 * len(sealed(0)[0].to_json())
    store = ResultStore(tmp_path, max_bytes=room)
    now = time.time()
    for number in range(20):
        keep(store, number)
        for file in (store._record_path(key_of(number)), store._states.path(sealed(number)[0].state or "")):
            os.utime(file, (now - 100 + number,) * 2)
        assert store.size().num_bytes <= room
        store.note(sealed(0)[0])  # used again and again
        store.release([])
        assert store.load(sealed(0)[0]) is not None
    left = [number for number in range(20) if store.load(sealed(number)[0]) is not None]
    assert left == [0, *range(20 - len(left) + 1, 20)]  # the first one and the newest
    assert len(left) >= 5
    assert all(store.recall(key_of(number)) for number in range(20))  # records are small: states go first


def test_records_go_when_they_alone_exceed_the_bound(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, max_bytes=1000)
    for number in range(40):
        result = EvalResult(key=key_of(number), loss=1.0, token_accuracy=0.5, num_tokens=2)
        store.keep(Record(kind="EvalTask", key=key_of(number), result=result, state=None), None)
    assert 0 < store.size().num_bytes <= 1000
    assert store.recall(key_of(0)) is None


def test_states_that_a_live_run_needs_stay(tmp_path: Path) -> None:
    live, other = ResultStore(tmp_path), ResultStore(tmp_path, max_bytes=1)
    keep(live, 1, 2)
    keep(other, 3)  # far too much; but who has kept a state needs it until further notice
    assert all(live.load(sealed(number)[0]) for number in (1, 2, 3))
    live.release([key_of(1)])
    other.release([])
    keep(ResultStore(tmp_path, max_bytes=1), 4)
    assert [live.load(sealed(number)[0]) is not None for number in (1, 2, 3)] == [True, False, False]
    assert other.clear().num_states == 1
    live.close()
    assert other.clear().num_states == 0


def test_the_needs_of_a_killed_process_end_with_it(tmp_path: Path) -> None:
    code = (
        "import os; from pathlib import Path; from workloads.leases import Lease, needed_states;"
        f"folder = Path({str(tmp_path)!r}); lease = Lease(folder); lease.hold(['ab']);"
        "assert needed_states(folder) == {'ab'}; os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    assert len(files(tmp_path)) == 2
    assert needed_states(tmp_path) == frozenset()
    assert files(tmp_path) == []


def test_leases_of_several_owners_add_up(tmp_path: Path) -> None:
    leases = [Lease(tmp_path), Lease(tmp_path)]
    for lease, needed in zip(leases, (["a", "b"], ["b", "c"]), strict=True):
        lease.hold(needed)
    assert needed_states(tmp_path) == {"a", "b", "c"}
    leases[0].hold(["a"])
    leases[1].close()
    assert needed_states(tmp_path) == {"a"}


def test_a_damaged_record_is_reported_removed_and_no_result(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ResultStore(tmp_path)
    keep(store, 1)
    path = store._record_path(key_of(1))
    text = json.loads(path.read_text())
    text["record"]["result"]["losses"][0] = 1.0
    path.write_text(json.dumps(text))
    assert store.recall(key_of(1)) is None
    assert f"{path} is damaged (its checksum is wrong): the task is computed again" in caplog.text
    assert not path.exists()


def test_a_record_under_the_name_of_another_task_is_no_result(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ResultStore(tmp_path)
    record = Record(kind="InitialTask", key="a" * 64, result=None, state=None)
    store.keep(record, None)
    other = store._record_path("b" * 64)
    other.parent.mkdir()
    shutil.copy(store._record_path(record.key), other)
    assert store.recall("b" * 64) is None
    assert "is damaged (it is of another task" in caplog.text
    assert not other.exists()
    assert store.recall(record.key) == record


def test_a_file_that_another_process_removes_meanwhile_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = ResultStore(tmp_path)
    record = Record(kind="InitialTask", key="a" * 64, result=None, state=None)
    store.keep(record, None)
    touch = os.utime

    def touch_what_has_just_gone(path: Path) -> None:
        path.unlink()
        touch(path)

    monkeypatch.setattr(os, "utime", touch_what_has_just_gone)
    store.note(record)
    store.keep(record, None)
    assert store.recall(record.key) == record  # it goes on keeping what it is given
    assert not caplog.text


def test_size_counts_what_is_there(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    assert store.size().num_bytes == store.size().num_records == 0
    keep(store, 1, 2)
    size = store.size()
    assert (size.num_records, size.num_states) == (2, 2)
    kept = [path for path in files(tmp_path) if path.suffix in {".json", ".safetensors"}]
    assert size.num_bytes == sum(path.stat().st_size for path in kept)


def test_clearing_an_empty_store_writes_nothing(tmp_path: Path) -> None:
    assert ResultStore(tmp_path / "none").clear().num_records == 0
    assert not (tmp_path / "none").exists()


WRITER = """
import sys
from pathlib import Path
from tests.workloads.test_store import key_of, sealed
from workloads.store import ResultStore
folder, first, room = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store = ResultStore(folder, max_bytes=room)
for number in range(first, first + 30):
    record, content = sealed(number)
    store.keep(record, content)
    store.release([record.key])
    found = store.recall(key_of(number))
    assert found == record, number
    assert store.load(found) is not None, number
print("good")
"""


def test_processes_that_write_the_same_and_evict_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    room = 20 * len(sealed(0)[1])  # for less than half of what they write, but for all that they need at once
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [
        subprocess.Popen(
            [*command, str(first), str(room)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )
        for first in (0, 10, 20)
    ]  # fmt: skip
    said = [writer.communicate(timeout=120) for writer in writers]
    assert said == [("good\n", "")] * len(writers)


@pytest.fixture
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPLITFT_RESULTS", raising=False)
    monkeypatch.delenv("SPLITFT_RESULTS_GIB", raising=False)


@pytest.mark.usefixtures("_no_variables")
def test_the_users_store_is_in_their_cache_folder_and_holds_five_gib() -> None:
    assert default_folder().name == "results"
    assert "splitft" in default_folder().parts
    assert default_max_bytes() == MAX_BYTES == 5 * 2**30


def test_folder_and_bound_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPLITFT_RESULTS", str(tmp_path))
    monkeypatch.setenv("SPLITFT_RESULTS_GIB", "0.5")
    assert default_folder() == tmp_path
    assert default_max_bytes() == 2**29
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPLITFT_RESULTS", "results")
    assert store_variables() == {"SPLITFT_RESULTS": str(tmp_path / "results"), "SPLITFT_RESULTS_GIB": "0.5"}


def test_where_nothing_is_named_other_processes_are_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPLITFT_RESULTS", raising=False)
    monkeypatch.delenv("SPLITFT_RESULTS_GIB", raising=False)
    assert store_variables() == {}


@pytest.mark.parametrize("text", ["", "many", "0", "-1", "nan", "inf"])
def test_a_bound_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SPLITFT_RESULTS_GIB", text)
    with pytest.raises(ValueError, match=rf"SPLITFT_RESULTS_GIB: expected a number of GiB above 0, got {text!r}"):
        default_max_bytes()


def test_the_store_imports_no_torch() -> None:
    modules = "workloads.store, workloads.run_results, workloads.export, workloads.numerics"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert printed.stdout.strip() == "False"


def test_warnings_go_to_the_modules_own_log() -> None:
    assert store_module._LOG.name == logging.getLogger("workloads.store").name
