import pytest

from analysis.style import KIND_STYLES, evenly, human_bytes, human_time
from analysis.words import counted
from simulator.records.runs import SPAN_KINDS


def test_every_span_kind_has_one_look_of_its_own() -> None:
    assert set(KIND_STYLES) == set(SPAN_KINDS)
    assert len(set(KIND_STYLES.values())) == len(KIND_STYLES)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0042, "4.20 ms"), (1.0, "1.00 s"), (299.0, "299 s"), (300.0, "5.00 min"), (18_000.0, "5.00 h"),
     (432_000.0, "5.00 days")],
)  # fmt: skip
def test_times_are_given_in_the_unit_that_reads_well(seconds: float, text: str) -> None:
    assert human_time(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.00 B"), (999, "999 B"), (1000, "1.00 kB"), (12_345_678, "12.3 MB"), (5e9, "5.00 GB"), (7.5e15, "7,500 TB")],
)
def test_sizes_are_given_in_decimal_units(size: float, text: str) -> None:
    assert human_bytes(size) == text


def test_counts_agree_with_their_nouns() -> None:
    assert [counted(count, "round") for count in (0, 1, 1200)] == ["0 rounds", "1 round", "1,200 rounds"]


def test_few_rows_are_all_shown_and_many_include_both_ends() -> None:
    assert evenly(3) == [0, 1, 2]
    chosen = evenly(1000)
    assert (len(set(chosen)), chosen[0], chosen[-1]) == (30, 0, 999)
