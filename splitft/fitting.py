"""Tables that fit the terminal: numbers and short words are never broken, columns that do not fit are left out."""

import re
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from analysis.words import counted

LONGEST_WORD = 24  # a longer one, such as a path, may be folded
GAP = 2  # between columns

_NUMBER = r"[+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?%?"
_UNIT = r"(?: (?:[kMGT]?i?B|m?s|min|h|d|k?J|kWh))?"
_QUANTITY = re.compile(rf"(?:{_NUMBER}{_UNIT}(?: ± {_NUMBER})?\*?|-|)")
_WORD = re.compile(rf"{_NUMBER}{_UNIT}(?=[\s,;)*]|$)\S*|\S+")  # a number and its unit are one
_PART = re.compile(r"(?<=[._/=:])(?=[A-Za-z]{3})")  # where a key or a path may be broken, and no number or unit


class FittingTable(Table):
    """A table that finds its columns' widths when it is drawn.

    Every column gets what its longest word needs, and one of quantities what its longest cell needs; what is left goes
    to those that would fold. Where that is too much, keys and paths are folded at their dots; then columns go, optional
    ones first and after them the last ones, but for two, and the caption says how many.

    Args:
        headings: of the columns; the first names the rows and is never folded.
        rows: cells.
        title: above it.
        caption: below it.
        optional: headings of columns that are left out before others, the first one first.
    """

    def __init__(
        self, headings: Sequence[str], rows: Sequence[Sequence[str]], title: str, caption: str, optional: Sequence[str]
    ) -> None:
        super().__init__()
        self._title, self._caption = title, caption
        self._headings, self._cells, self._optional = list(headings), rows, optional
        self._columns_cells = [[row[place] for row in rows] for place in range(len(headings))]
        self._is_quantity = [all(map(_QUANTITY.fullmatch, cells)) for cells in self._columns_cells]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return that it takes what there is."""
        return Measurement(options.max_width, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the columns that fit, each as wide as it may be."""
        is_tight = self._needed(range(len(self._headings)), is_tight=False) > options.max_width
        shown = self._that_fit(options.max_width, is_tight)
        widths = self._widths(shown, options.max_width, is_tight)
        fitted = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for place in shown:
            justify: JustifyMethod = "right" if self._is_quantity[place] else "left"
            heading = Text(_folded(self._headings[place], widths[place], is_tight))
            fitted.add_column(heading, justify=justify, overflow="fold", width=widths[place])
        for row in self._cells:
            fitted.add_row(*(Text(_folded(row[place], widths[place], is_tight)) for place in shown))
        if self._title:
            yield Text(self._title, "bold")
        for line in console.render_lines(fitted, options, pad=False):
            yield from _without_trailing_blanks(line)
            yield Segment.line()
        if caption := self._caption_of(num_hidden=len(self._headings) - len(shown)):
            yield Text(caption, "table.caption")
        yield ""

    def _that_fit(self, width: int, is_tight: bool) -> list[int]:
        shown = list(range(len(self._headings)))
        leaving = dict.fromkeys([*map(self._headings.index, self._optional), *shown[:1:-1]])
        for place in leaving:
            if self._needed(shown, is_tight) <= width:
                break
            shown.remove(place)
        return shown

    def _needed(self, shown: Sequence[int], is_tight: bool) -> int:
        return sum(self._least(place, is_tight) for place in shown) + GAP * (len(shown) - 1)

    def _widths(self, shown: Sequence[int], width: int, is_tight: bool) -> dict[int, int]:
        """Give each column its least width, and share out the rest, those that want least first."""
        widths = {place: self._least(place, is_tight) for place in shown}
        wants = {place: self._most(place) - widths[place] for place in shown}
        spare = max(0, width - GAP * (len(shown) - 1) - sum(widths.values()))
        for done, place in enumerate(sorted(shown, key=lambda place: wants[place])):
            more = min(wants[place], spare // (len(shown) - done))
            widths[place], spare = widths[place] + more, spare - more
        return widths

    def _least(self, place: int, is_tight: bool) -> int:
        cells = self._columns_cells[place]
        is_whole = self._is_quantity[place] or place == 0
        parts = cells if is_whole else [part[:LONGEST_WORD] for cell in cells for part in _parts(cell, is_tight)]
        heading = [part[:LONGEST_WORD] for part in _parts(self._headings[place], is_tight)]
        return max(map(cell_len, [*heading, *parts, ""]))

    def _most(self, place: int) -> int:
        return max(map(cell_len, [self._headings[place], *self._columns_cells[place]]))

    def _caption_of(self, num_hidden: int) -> str:
        hidden = f"a wider terminal shows {counted(num_hidden, 'more column')}" if num_hidden else ""
        return "; ".join(filter(None, (self._caption, hidden)))


def _parts(text: str, is_tight: bool) -> Iterator[str]:
    """Yield the parts of a text between which a line may end; where it is tight, also those of long words."""
    for word in _WORD.findall(text):
        yield from (_PART.split(word) if is_tight else [word])


def _folded(text: str, width: int, is_tight: bool) -> str:
    """Return a text in lines that are no longer than the width where its parts are not."""
    if cell_len(text) <= width:
        return text
    lines = [""]
    for word in _WORD.findall(text):
        for place, part in enumerate(_parts(word, is_tight)):
            gap = " " if place == 0 and lines[-1] else ""
            if lines[-1] and cell_len(lines[-1] + gap + part) > width:
                lines.append(part)
            else:
                lines[-1] += gap + part
    return "\n".join(lines)


def _without_trailing_blanks(line: Sequence[Segment]) -> list[Segment]:
    """Return a line of the table without what fills its last column."""
    segments = list(line)
    while segments and not segments[-1].text.strip():
        segments.pop()
    if segments:
        segments[-1] = segments[-1]._replace(text=segments[-1].text.rstrip())
    return segments
