"""Tables that fit the terminal: numbers and short words are never broken, columns that do not fit are left out."""

import re
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.measure import Measurement
from rich.table import Table

LONGEST_WORD = 24  # a longer one, such as a path, may be folded
GAP = 2  # between columns

_NUMBER = r"[+-]?[\d,]*\.?\d+(e[+-]?\d+)?%?"
_QUANTITY = re.compile(rf"({_NUMBER}( ([kMGT]?i?B|m?s))?\*?|-|)")


class FittingTable(Table):
    """A table that finds its columns' widths when it is drawn.

    Every column gets what its longest word needs, and one of quantities what its longest cell needs; what is left goes
    to those that would fold. Where that is too much, optional columns go, and the caption says how many.

    Args:
        headings: of the columns; the first names the rows and is never folded.
        rows: cells.
        title: above it.
        caption: below it.
        optional: headings of columns that may be left out, the first one first.
    """

    def __init__(
        self, headings: Sequence[str], rows: Sequence[Sequence[str]], title: str, caption: str, optional: Sequence[str]
    ) -> None:
        super().__init__(title=title or None, caption=caption or None)
        self._headings, self._cells, self._optional = list(headings), rows, optional
        self._columns_cells = [[row[place] for row in rows] for place in range(len(headings))]
        self._is_quantity = [all(map(_QUANTITY.fullmatch, cells)) for cells in self._columns_cells]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return that it takes what there is."""
        return Measurement(options.max_width, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the columns that fit, each as wide as it may be."""
        shown = self._that_fit(options.max_width)
        fitted = self._empty(num_hidden=len(self._headings) - len(shown))
        for place, width in zip(shown, self._widths(shown, options.max_width), strict=True):
            justify: JustifyMethod = "right" if self._is_quantity[place] else "left"
            fitted.add_column(self._headings[place], justify=justify, overflow="fold", width=width)
        for row in self._cells:
            fitted.add_row(*(row[place] for place in shown))
        yield fitted
        yield ""

    def _that_fit(self, width: int) -> list[int]:
        shown, leaving = list(range(len(self._headings))), iter(self._optional)
        while sum(map(self._least, shown)) + GAP * (len(shown) - 1) > width:
            heading = next(leaving, None)
            if heading is None:
                break
            shown.remove(self._headings.index(heading))
        return shown

    def _widths(self, shown: Sequence[int], width: int) -> list[int]:
        """Give each column its least width, and share out the rest, those that want least first."""
        widths = {place: self._least(place) for place in shown}
        wants = {place: self._most(place) - widths[place] for place in shown}
        spare = max(0, width - GAP * (len(shown) - 1) - sum(widths.values()))
        for done, place in enumerate(sorted(shown, key=lambda place: wants[place])):
            more = min(wants[place], spare // (len(shown) - done))
            widths[place], spare = widths[place] + more, spare - more
        return [widths[place] for place in shown]

    def _least(self, place: int) -> int:
        cells = self._columns_cells[place]
        whole = cells if self._is_quantity[place] or place == 0 else [word for cell in cells for word in _words(cell)]
        return max(map(cell_len, [*_words(self._headings[place]), *whole, ""]))

    def _most(self, place: int) -> int:
        return max(map(cell_len, [self._headings[place], *self._columns_cells[place]]))

    def _empty(self, num_hidden: int) -> Table:
        hidden = f"a wider terminal shows {num_hidden} more column{'s' * (num_hidden > 1)}" if num_hidden else ""
        return Table(
            title=self.title, title_justify="left", title_style="bold",
            caption="; ".join(text for text in (str(self.caption or ""), hidden) if text) or None,
            caption_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0),
        )  # fmt: skip


def _words(text: str) -> Iterator[str]:
    return (word[:LONGEST_WORD] for word in text.split())
