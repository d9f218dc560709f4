"""Tables and text for a terminal, without control characters or Rich markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

_GAP = 2


class TextTable:
    """A table that breaks words only where the terminal is too narrow for the longest ones."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self._columns = columns
        self._rows = [[_cell(cell) for cell in row] for row in rows]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        columns = zip(map(Text, self._columns), *self._rows, strict=True)
        words = [max(map(_longest_word, column)) for column in columns]
        fits = sum(words) + _GAP * (len(words) - 1) <= options.max_width
        made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for name, width in zip(self._columns, words, strict=True):
            made.add_column(name, overflow="fold", min_width=width if fits else None)
        for row in self._rows:
            made.add_row(*row)
        yield made


def safe(text: str, style: str = "") -> Text:
    """Return a text with control characters replaced and Rich markup disabled."""
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
