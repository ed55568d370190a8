"""Tables on terminals of any width: numbers and words stay whole, and what does not fit is left out and counted."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from simulator.setting import resolve
from splitft import listing, model_listing
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


@given(columns=st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=8), width=st.integers(24, 60))
def test_columns_that_do_not_fit_are_left_out_from_the_last_and_no_number_is_broken(columns, width):
    headings = [f"heading {place}" for place in range(len(columns))]
    rows = list(zip(["first", "second"], *columns, strict=True))
    lines = lines_of(table(["row", *headings], rows), width)
    # A row's name, the gap and the first number, of 12 letters at most, always fit: so do all that are shown.
    assert max(map(len, lines)) <= width
    [shown] = [line.split()[1:] for line in lines if line.startswith("first")]
    assert shown == [cells[0] for cells in columns][: len(shown)]
    hidden = len(columns) - len(shown)
    assert ("shows" in " ".join(lines)) == (hidden > 0)


def test_a_mean_and_its_interval_are_one_number():
    rows = [("a", "13.08 ± 0.29", "some words that can be folded")]
    assert lines_of(table(["name", "MB", "what it is"], rows), 30)[2].split()[:4] == ["a", "13.08", "±", "0.29"]


def test_a_number_and_its_unit_stay_together():
    rows = [("time", "+0.0678 s to +3.76 s (student) *")]
    # 4, a gap of 2, and 14 for the rest
    assert [line.rstrip()[6:] for line in lines_of(table(["", "interval"], rows), 20)[2:5]] == [
        "+0.0678 s to", "+3.76 s", "(student) *",
    ]  # fmt: skip


def test_long_keys_are_folded_at_their_dots_where_that_makes_them_fit():
    rows = [("001", "phone", "0.25")]
    headings = ["case", "fleet.clients.0.device", "down Mbit/s"]
    # 4, 22 and 6 with two gaps: 36. Of 24 the key gets the 10 of its longest part.
    assert [line.split() for line in lines_of(table(headings, rows), 36)[:2]] == [["down"], [*headings[:2], "Mbit/s"]]
    heading = [line.split() for line in lines_of(table(headings, rows), 24)[:3]]
    assert heading == [["fleet."], ["clients.0.", "down"], ["case", "device", "Mbit/s"]]


def test_brackets_are_shown_as_they_are():
    shown = table(["a [bold]", "codecs"], [("[one]", "[fp32, int8]")], title="of [x, y]", caption="[see below]")
    page = " ".join(lines_of(shown, 80))
    assert all(text in page for text in ("a [bold]", "[one]", "[fp32, int8]", "of [x, y]", "[see below]"))


def test_no_line_ends_in_blanks():
    lines = lines_of(table(["a", "words"], [("1", "x"), ("2", "longer")], title="t", caption="a caption"), 200)
    assert lines == [line.rstrip() for line in lines]


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


@pytest.mark.parametrize("what", [listing.list_networks, model_listing.list_models, listing.list_fleets])
def test_lists_on_a_narrow_terminal_break_no_word_that_a_wide_one_has_whole(what, monkeypatch):
    pages = {}
    for width in (60, 300):
        page = io.StringIO()
        for module in (listing, model_listing):
            monkeypatch.setattr(module, "console", lambda page=page, width=width: Console(file=page, width=width))
        what()
        pages[width] = page.getvalue()
        assert max(map(len, pages[width].splitlines())) <= width
    table_60 = pages[60].partition("a wider terminal")[0]
    assert {word for word in table_60.split() if word[0].isdigit()} <= set(pages[300].split())
    assert {"Mbi", "t/s"} & set(table_60.split()) == set()


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


def test_a_title_and_a_caption_may_be_wider_than_their_table():
    lines = lines_of(table(["a", "b"], [("1", "2")], title="a title of some words", caption="and a caption"), 40)
    assert lines[0] == "a title of some words"
    assert lines[-2:] == ["and a caption", ""]
