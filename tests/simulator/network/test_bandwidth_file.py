"""Files of bandwidths: what is read, and one message for each mistake."""

import math
from pathlib import Path

import pytest

from devices.problems import InputError
from simulator.network.bandwidth_file import BandwidthTrace, read_bandwidths

HEADER = "client,time_s,downlink_mbit_per_s,uplink_mbit_per_s"
MB = 1e6


def read(folder: Path, rows: str, period_s: float | None = None) -> BandwidthTrace:
    path = folder / "bandwidth.csv"
    path.write_text(rows, encoding="utf-8")
    return read_bandwidths(path, 3, period_s)


def problems(folder: Path, text: str, period_s: float | None = None) -> list[str]:
    with pytest.raises(InputError) as raised:
        read(folder, text, period_s)
    return [str(problem).removeprefix(f"{folder}/") for problem in raised.value.problems]


def test_rows_may_stand_in_any_order_and_the_server_may_be_among_them(tmp_path: Path) -> None:
    # 8 Mbit/s are 1 MB/s
    trace = read(tmp_path, f"\ufeff{HEADER}\n2,5,80,16\n\nserver,0,800,400\n2,1,8,0\n")
    assert list(trace.records) == [2, "server"]
    record = trace.records[2]
    assert record.times_s == (1.0, 5.0)
    assert record.downlink_bytes_per_s == (1 * MB, 10 * MB)
    assert record.uplink_bytes_per_s == (0.0, 2 * MB)


def test_who_is_not_in_the_file_has_no_course(tmp_path: Path) -> None:
    trace = read(tmp_path, f"{HEADER}\n2,5,80,16\n")
    assert trace.courses(0, 3.0, 4.0) is None
    courses = trace.courses(2, 3.0, 4.0)
    assert courses is not None
    assert [course.at(0.0) for course in courses] == [(3.0, 5.0), (4.0, 5.0)]  # as drawn, until the first row
    assert [course.at(5.0) for course in courses] == [(10 * MB, math.inf), (2 * MB, math.inf)]


def test_with_a_period_a_connection_may_end_at_zero(tmp_path: Path) -> None:
    trace = read(tmp_path, f"{HEADER}\n0,0,8,8\n0,6,0,0\n", period_s=10.0)
    courses = trace.courses(0, 3.0, 4.0)
    assert courses is not None
    assert courses[0].at(26.0) == (0.0, 30.0)


def test_another_content_has_another_digest(tmp_path: Path) -> None:
    first = read(tmp_path, f"{HEADER}\n0,0,8,8\n").digest
    assert read(tmp_path, f"{HEADER}\n0,0,8,9\n").digest != first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", f"bandwidth.csv:1: the first line must be {HEADER}"),
        ("client,time_s,mbit_per_s\n0,0,1\n", f"bandwidth.csv:1: the first line must be {HEADER}"),
        (f"{HEADER}\n0,0,1\n", f"bandwidth.csv:2: expected {HEADER} with numbers of at least 0, got '0,0,1'"),
        (f"{HEADER}\n0,0,1,1,1\n", f"bandwidth.csv:2: expected {HEADER} with numbers of at least 0"),
        (f"{HEADER}\nA,0,1,1\n", f"bandwidth.csv:2: expected {HEADER} with numbers of at least 0"),
        (f"{HEADER}\n0,-1,1,1\n", f"bandwidth.csv:2: expected {HEADER} with numbers of at least 0"),
        (f"{HEADER}\n0,0,nan,1\n", f"bandwidth.csv:2: expected {HEADER} with numbers of at least 0"),
        (f"{HEADER}\n0,0,1,inf\n", f"bandwidth.csv:2: expected {HEADER} with numbers of at least 0"),
        (
            f"{HEADER}\n0,0,1,1e-6\n",
            "bandwidth.csv:2: a rate is 0, or at least 8e-06 Mbit/s (1 byte/s), got '0,0,1,1e-6'",
        ),
        (f"{HEADER}\n0,0,1,{'1' * 200_000}\n", "bandwidth.csv:2: is not a CSV file: field larger than field limit"),
        (f"{HEADER}\n3,0,1,1\n", "bandwidth.csv:2: there is no client 3: the fleet has 3, numbered from 0"),
        (f"{HEADER}\n", "bandwidth.csv: there is no row in it"),
        (f"{HEADER}\n0,1,1,1\n0,0,1,1\n0,1,2,2\n", "bandwidth.csv:4: client 0 has two rows for time_s 1"),
        (
            f"{HEADER}\n0,0,1,1\n0,5,1,0\n",
            "bandwidth.csv:3: the uplink of client 0 ends at 0: messages would wait for good",
        ),
        (
            f"{HEADER}\nserver,0,0,1\n",
            "bandwidth.csv:2: the downlink of the server ends at 0: messages would wait for good",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HEADER}\n0,10,1,1\n", "bandwidth.csv:2: time_s must be below network.trace.period_s (10), got 10"),
        (
            f"{HEADER}\n0,0,0,1\n0,5,0,0\n",
            "bandwidth.csv:3: the downlink of client 0 is never above 0: messages would wait for good",
        ),
    ],
)
def test_a_mistake_in_a_periodic_file_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(tmp_path, text, period_s=10.0)
    assert problem.startswith(expected)


def test_every_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    found = problems(tmp_path, f"{HEADER}\n0,0,1,x\n9,0,1,1\n1,0,1,1\n1,2,0,1\n")
    assert [problem.split(": ")[0] for problem in found] == ["bandwidth.csv:2", "bandwidth.csv:3", "bandwidth.csv:5"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read: No such file"):
        read_bandwidths(tmp_path / "nowhere.csv", 3, None)
    (tmp_path / "b.csv").write_bytes(f"{HEADER}\n".encode() + b"\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_bandwidths(tmp_path / "b.csv", 3, None)
