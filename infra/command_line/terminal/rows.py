"""Texts as people see them: rows with columns, and nothing that could steer a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_GAP: Final = 3
"""Columns of the screen that a column of the table takes besides its texts."""


class Rows:
    """Rows of texts: a table where every column has room for its longest word, else row by row.

    A cell that is None or empty says nothing.
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self._columns = columns
        self._rows = [[_cell(cell) for cell in row] for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self._widths(options.max_width)
        yield self._table(widths) if widths else Group(*map(self._alone, self._rows))

    def _widths(self, width: int) -> list[int]:
        """Return how wide each column is to be; none where a word would be broken."""
        cells = list(zip([Text(name) for name in self._columns], *self._rows, strict=True))
        least = [max(map(_longest_word, column)) for column in cells]
        wanted = [max(_longest_line(text) for text in column) for column in cells]
        room = width - sum(least) - _GAP * len(least)
        if room < 0:
            return []
        widths = []
        for needs, wants in zip(least, wanted, strict=True):
            more = min(wants - needs, room)
            widths.append(needs + more)
            room -= more
        return widths

    def _table(self, widths: Sequence[int]) -> Table:
        made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for name, width in zip(self._columns, widths, strict=True):
            made.add_column(name, width=width)
        for row in self._rows:
            made.add_row(*row)
        return made

    def _alone(self, row: Sequence[Text]) -> RenderableType:
        """Render a row by itself: its first cell, and below that each other with its name."""
        head, *rest = row
        made = Table.grid(padding=(0, 2))
        made.add_column(style="dim", no_wrap=True)
        made.add_column(overflow="fold")
        for name, cell in zip(self._columns[1:], rest, strict=True):
            if cell.plain:
                made.add_row(name, cell)
        return Group(head, Padding(made, (0, 0, 0, 2)))


def safe(text: str, style: str = "") -> Text:
    """Return a text without what could steer a terminal, and without Rich's markup."""
    shown = "".join(
        mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}" for mark in text
    )
    return Text(shown, style=style)


def counted(number: int, noun: str) -> str:
    """Return "1 client" or "2 clients"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _cell(cell: object) -> Text:
    if isinstance(cell, Text):
        return cell
    return safe("" if cell is None else str(cell))


def _longest_word(text: Text) -> int:
    return max(map(cell_len, text.plain.split()), default=0)


def _longest_line(text: Text) -> int:
    return max(map(cell_len, text.plain.splitlines()), default=0)
