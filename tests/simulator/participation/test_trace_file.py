import math
from pathlib import Path

import pytest

from devices.problems import InputError
from simulator.participation.trace_file import read_trace


def write(folder: Path, text: str) -> Path:
    path = folder / "sessions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def sessions(folder: Path, rows: str, num_clients: int = 3) -> list[list[float]]:
    """Return when each client comes and goes, in turn."""
    trace = read_trace(write(folder, f"client,start_s,end_s\n{rows}"), num_clients)
    own = []
    for first in trace.first:
        times = trace.changes_s[first:].tolist()
        own.append(times[: times.index(math.inf)])
    return own


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as raised:
        read_trace(write(folder, text), 3)
    return [str(problem).removeprefix(f"{folder}/") for problem in raised.value.problems]


def test_rows_may_stand_in_any_order_and_clients_may_be_absent(tmp_path: Path) -> None:
    assert sessions(tmp_path, "2,50,60\n0,0,1.5\n2,10,20\n") == [[0, 1.5], [], [10, 20, 50, 60]]
    assert read_trace(tmp_path / "sessions.csv", 3).num_absent == 1


def test_a_session_that_begins_within_another_or_at_its_end_continues_it(tmp_path: Path) -> None:
    # 0..10 with 5..8 inside, 10..12 right after, 11..20 overlapping; then a gap
    assert sessions(tmp_path, "0,0,10\n0,5,8\n0,10,12\n0,11,20\n0,21,22\n") == [[0, 20, 21, 22], [], []]


def test_empty_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffclient, start_s, end_s\n\n1,0,5\n\n")
    assert read_trace(path, 3).num_absent == 2


def test_another_content_has_another_digest(tmp_path: Path) -> None:
    first = read_trace(write(tmp_path, "client,start_s,end_s\n0,0,1\n"), 3).digest
    assert read_trace(write(tmp_path, "client,start_s,end_s\n0,0,2\n"), 3).digest != first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "sessions.csv:1: the first line must be client,start_s,end_s"),
        ("user,start,end\n0,0,1\n", "sessions.csv:1: the first line must be client,start_s,end_s"),
        ("client,start_s,end_s\n0,5,5\n", "sessions.csv:2: expected client,start_s,end_s with 0 <= start_s < end_s"),
        ("client,start_s,end_s\n0,-1,5\n", "sessions.csv:2: expected client,start_s,end_s with 0 <= start_s < end_s"),
        ("client,start_s,end_s\n0,0,inf\n", "sessions.csv:2: expected client,start_s,end_s with"),
        ("client,start_s,end_s\n0,nan,5\n", "sessions.csv:2: expected client,start_s,end_s with"),
        ("client,start_s,end_s\nA,0,1\n", "sessions.csv:2: expected client,start_s,end_s with"),
        ("client,start_s,end_s\n0,1\n", "sessions.csv:2: expected client,start_s,end_s with"),
        ("client,start_s,end_s\n0,0,1,2\n", "sessions.csv:2: expected client,start_s,end_s with"),
        ("client,start_s,end_s\n3,0,1\n", "sessions.csv:2: there is no client 3: the fleet has 3, numbered from 0"),
        ("client,start_s,end_s\n-1,0,1\n", "sessions.csv:2: there is no client -1: the fleet has 3"),
        ("client,start_s,end_s\n", "sessions.csv: there is no session in it: nobody could ever be reached"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(expected)


def test_every_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    found = problems(tmp_path, "client,start_s,end_s\n0,0,1\n9,0,1\n\n0,2,1\n")
    assert [problem.split(": ")[0] for problem in found] == ["sessions.csv:3", "sessions.csv:5"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read: No such file"):
        read_trace(tmp_path / "nowhere.csv", 3)
    (tmp_path / "sessions.csv").write_bytes(b"client,start_s,end_s\n\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_trace(tmp_path / "sessions.csv", 3)
