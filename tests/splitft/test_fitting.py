"""Tables on terminals of any width: numbers and words stay whole, and what does not fit is left out and counted."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from simulator.setting import resolve
from splitft import listing
from splitft.checking import check_tables
from splitft.show import table
from tests.small_run import small


def lines_of(shown, width):
    page = io.StringIO()
    Console(file=page, width=width).print(shown)
    return page.getvalue().splitlines()


def words_of(shown, width):
    return {word for line in lines_of(shown, width) for word in line.split()}


numbers = st.decimals(min_value=0, max_value=10**6, places=3).map(lambda value: f"{value:,}")


@given(columns=st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=6), width=st.integers(40, 120))
def test_no_number_is_broken_where_the_least_widths_fit(columns, width):
    headings = [f"heading {place}" for place in range(len(columns))]
    rows = list(zip(["first", "second"], *columns, strict=True))
    # "heading" has 7 letters, and so has a row's name with the gap; two blanks between columns.
    least = len("second") + sum(2 + max(7, *map(len, cells)) for cells in columns)
    if least <= width:
        found = words_of(table(["row", *headings], rows), width)
        assert {cell for cells in columns for cell in cells} <= found


def test_headings_fold_at_words_and_numbers_stay_whole():
    rows = [("a", "12.5*", "several words that can be folded")]
    # name 4, usable 6, "several" 7 and two gaps of 2: one more is there for either the second or the third column
    lines = lines_of(table(["name", "usable GiB", "what it is"], rows), 22)
    assert [line.split() for line in lines[:2]] == [["usable", "what", "it"], ["name", "GiB", "is"]]
    assert lines[3].split() == ["a", "12.5*", "several"]


def test_optional_columns_go_in_their_order_until_the_rest_fits():
    rows = [("a", "1.234", "5.678", "9.012")]
    headings, optional = ["name", "one", "two", "three"], ["two", "one"]

    def drawn(width):
        return lines_of(table(headings, rows, caption="note", optional=optional), width)

    # name 4 and three numbers of 5 with gaps of 2: 25
    assert drawn(25)[0].split() == headings
    assert drawn(24)[0].split() == ["name", "one", "three"]
    assert drawn(17)[0].split() == ["name", "three"]
    assert drawn(25)[3].split() == ["note"]
    assert " ".join(drawn(24)[3:]).split() == ["note;", "a", "wider", "terminal", "shows", "1", "more", "column"]


def test_a_path_may_be_folded_but_a_short_word_is_not():
    rows = [("weights", "/" + "x" * 60), ("family", "gemma3_text")]
    lines = lines_of(table(["", "value"], rows), 40)
    assert any("gemma3_text" in line for line in lines)
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("width", [80, 100, 150])
def test_check_shows_as_many_cuts_as_fit_and_breaks_no_number(width):
    *_, by_device = check_tables(resolve(small(execution={"trainer": "cost-only"})))
    lines = lines_of(by_device, width)
    rule = next(place for place, line in enumerate(lines) if line.startswith("─"))
    cuts = sorted(int(word) for word in " ".join(lines[1:rule]).split() if word.isdigit())
    assert cuts[0] == 1
    assert cuts[-1] == 7
    # jetson-orin-nano-8gb 20, clients 7, usable 6, deepest 7, gaps of 2: 46; each number such as 0.0401 takes 8 more
    assert len(cuts) == min(7, (width - 46) // 8)
    # Of each of three devices: id, clients, GiB, deepest, and seconds for each cut, all on one line
    rows = [line.split() for line in lines if line.split()[:1] in (["rpi5-8gb"], ["rtx-3060-12gb"])]
    assert [len(row) for row in rows] == [4 + len(cuts)] * 2


@pytest.mark.parametrize("width", [80, 150])
def test_the_list_of_devices_keeps_every_number_with_its_asterisk(width, monkeypatch):
    page = io.StringIO()
    monkeypatch.setattr(listing, "console", lambda: Console(file=page, width=width))
    listing.list_devices(None)
    text = page.getvalue()
    [row] = [line.split() for line in text.splitlines() if line.startswith("cpu-altra-max-128 ")]
    # its usable memory is assumed: the asterisk is part of the number
    assert row[:6] == ["cpu-altra-max-128", "cpu-server", "5.73", "11.5", "0.44", "240.0*"]
    assert ("confidence" in text) == (width == 150)
