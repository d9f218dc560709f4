"""What a command shows: tables for people, JSON for programs, notes and questions on stderr."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.command_line.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from rich.console import RenderableType

_WIDTH_OF_A_FILE: Final = 200
"""Columns where the output is no terminal: a table in a file or a pipe is not folded early."""


class Terminal:
    """A person's terminal, or a program's two streams."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._output = _console(is_stderr=False)
        self._notes = _console(is_stderr=True)

    def show(self, payload: object, *parts: RenderableType) -> None:
        """Show a command's result: `payload` as JSON to programs, `parts` to people."""
        if self.as_json:
            self.write(json.dumps(payload, indent=2))
        else:
            self._output.print(*map(_renderable, parts), sep="\n")

    def write(self, text: str) -> None:
        """Write a line to stdout as it is: no colour, no folding."""
        click.echo(text)

    def note(self, text: str) -> None:
        """Tell a person, beside the result. Programs get the result alone."""
        if not self.as_json:
            self._notes.print(safe(text))

    def note_parts(self, *parts: RenderableType) -> None:
        """Show a person, beside the result, what a question is about."""
        if not self.as_json:
            self._notes.print(*map(_renderable, parts), sep="\n")

    def warn(self, text: str) -> None:
        """Tell whoever runs the command, program or not, on stderr."""
        self._notes.print(safe(text, style="yellow"))

    def fail(self, error: CommandError) -> None:
        """Say on stderr what went wrong, in one sentence and the next step."""
        if self.as_json:
            document = {"error": error.problem, "next_step": error.next_step, "code": error.code}
            click.echo(json.dumps(document), err=True)
        else:
            line = safe(error.problem, style="bold red")
            self._notes.print(line.append(safe(f" {error.next_step}".rstrip(), style="default")))

    def progress(self, doing: str) -> AbstractContextManager[object]:
        """Show what is being done, with a spinner, where a person watches."""
        if self.as_json or not self._notes.is_terminal:
            return nullcontext()
        return self._notes.status(safe(f"{doing} …"))

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something that cannot be taken back; `--yes` is the answer of a script.

        Raises:
            CommandError: the answer is not yes, or there is nobody to ask.
            KeyboardInterrupt: the answer is Ctrl-C.
        """
        if yes:
            return
        with answered_or(UnansweredError()):
            agreed = click.confirm(str(safe(question)), err=True)
        if not agreed:
            raise CommandError("Nothing was changed.", "")


@contextmanager
def answered_or(error: CommandError) -> Iterator[None]:
    """Ask with click; raise the error if there is no answer, and Ctrl-C as what it is.

    To click both are an Abort.
    """
    try:
        yield
    except click.Abort as aborted:
        click.echo(err=True)  # what follows is not a part of the question's line
        if isinstance(aborted.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise error from None


class UnansweredError(CommandError):
    """Raised when a question found nobody who could answer."""

    def __init__(self) -> None:
        super().__init__("Nobody answered, so nothing was changed.", "Add --yes.", ExitCode.USAGE)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table of texts. None is an empty cell."""
    made = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in made.columns:
        column.overflow = "fold"
    for row in rows:
        made.add_row(*("" if cell is None else _cell(cell) for cell in row))
    return made


def safe(text: str, style: str = "") -> Text:
    """Return a text without what could steer a terminal, and without Rich's markup."""
    shown = "".join(
        mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}" for mark in text
    )
    return Text(shown, style=style)


def counted(number: int, noun: str) -> str:
    """Return "1 client" or "2 clients"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _renderable(part: RenderableType) -> RenderableType:
    return safe(part) if isinstance(part, str) else part


def _cell(cell: object) -> Text:
    return cell if isinstance(cell, Text) else safe(str(cell))


def _console(*, is_stderr: bool) -> Console:
    console = Console(stderr=is_stderr, highlight=False, soft_wrap=is_stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_A_FILE
    return console
