"""Output for people as text and tables, for programs as JSON."""

import codecs
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper

import click
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from .errors import CommandError, ExitCode

_GAP = 2
_PROSE_WIDTH = 30


class TextTable:
    """A table that breaks words only where the terminal is too narrow for the longest ones."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self._columns = columns
        self._rows = [[_cell(cell) for cell in row] for row in rows]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        columns = [*zip(map(Text, self._columns), *self._rows, strict=True)]
        words = [max(_longest(each.plain.split()) for each in column) for column in columns]
        lines = [max(_longest(each.plain.splitlines()) for each in column) for column in columns]
        gaps = _GAP * (len(words) - 1)
        is_narrow = sum(lines) + gaps > options.max_width
        fits = sum(words) + gaps <= options.max_width
        # The last column has the prose. The others fold at spaces before it becomes narrow.
        has_prose = options.max_width - sum(words[:-1]) - gaps >= _PROSE_WIDTH
        made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for number, (name, width) in enumerate(zip(self._columns, words, strict=True), 1):
            fixed = width if is_narrow and has_prose and number < len(words) else None
            made.add_column(name, overflow="fold", min_width=width if fits else None, width=fixed)
        for row in self._rows:
            made.add_row(*row)
        yield made


def safe(text: str, style: str = "") -> Text:
    """Return a text with control characters replaced and Rich markup disabled."""
    shown = "".join(mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return Text(shown, style=style)


def counted(number: int, noun: str) -> str:
    """Return "1 client" or "2 clients"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _cell(cell: object) -> Text:
    if isinstance(cell, Text):
        return cell
    return safe("" if cell is None else str(cell))


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


_PLAIN: Mapping[str, str] = {
    "…": "...",
    "→": "->",
    "░": ".",
    "█": "#",
    "▒": "-",
    "│": "|",
    "✓": "+",
    "✗": "x",
    "·": "-",
}
"""ASCII replacements, for a terminal or a file that supports only ASCII."""

_IN_PLAIN = "gatehouse.plain"


def write_in_any_encoding() -> None:
    """Replace characters that the encoding of stdout or stderr lacks."""
    codecs.register_error(_IN_PLAIN, _in_plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_IN_PLAIN)


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(mark, "?") for mark in missing), error.end


_FILE_WIDTH = 80
"""Width of a table in a file or a pipe. Other text is not folded there."""


_COMMAND = re.compile(r"\bgatehouse (?=(?:clients|rules|keys|token|guard|doctor|backup|restore) )")


class Terminal:
    """Output on a terminal, or as JSON.

    `target` holds the options that name the deployment. Commands in messages repeat them.
    """

    def __init__(self, *, as_json: bool, target: str = "") -> None:
        self.as_json = as_json
        self._target = f"gatehouse {target} " if target else "gatehouse "
        self._output = _console(is_stderr=False)
        self._notes = _console(is_stderr=True)
        self._is_busy = False

    def show(self, payload: object, *parts: RenderableType) -> None:
        """Print the result of a command: `payload` as JSON, or `parts` as text."""
        if self.as_json:
            self.write(json.dumps(payload, indent=2))
        else:
            with _written():
                _print(self._output, parts)

    def write(self, text: str) -> None:
        """Print a line without colour and folding."""
        with _written():
            click.echo(text)

    @property
    def width(self) -> int:
        """Width of the terminal in columns."""
        return self._output.width

    def hint(self, text: str) -> str:
        """Return a message whose commands name the deployment as the user did."""
        return _COMMAND.sub(lambda _: self._target, text)

    def note(self, *parts: RenderableType) -> None:
        """Print notes on stderr, unless the output is JSON."""
        if not self.as_json:
            _print(self._notes, (self.hint(part) if isinstance(part, str) else part for part in parts))

    def warn(self, text: str) -> None:
        """Print a warning on stderr, also if the output is JSON."""
        self._notes.print(safe(self.hint(text), style="yellow"))

    def fail(self, error: CommandError) -> None:
        """Print an error and the next step on stderr."""
        problem, next_step = self.hint(error.problem), self.hint(error.next_step)
        if self.as_json:
            click.echo(json.dumps({"error": problem, "next_step": next_step, "code": error.code}), err=True)
        else:
            line = safe(problem, style="bold red")
            self._notes.print(line.append(safe(f" {next_step}".rstrip(), style="default")))

    @contextmanager
    def progress(self, doing: str) -> Iterator[None]:
        """Show a spinner on a terminal. Nested progress messages are suppressed."""
        if self.as_json or self._is_busy or not self._notes.is_terminal:
            yield
            return
        self._is_busy = True
        try:
            with self._notes.status(safe(f"{doing} …")):
                yield
        finally:
            self._is_busy = False

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask for confirmation, unless `--yes` was given.

        Raises:
            CommandError: the answer is not yes, or there is no input.
            KeyboardInterrupt: the answer is Ctrl-C.
        """
        if yes:
            return
        unanswered = CommandError(
            "The confirmation got no input, so nothing was changed.", "Add --yes.", ExitCode.USAGE
        )
        with answered_or(unanswered):
            agreed = click.confirm(str(safe(question)), err=True)
        if not agreed:
            raise CommandError("Nothing was changed.", "")


@contextmanager
def answered_or(error: CommandError) -> Iterator[None]:
    """Prompt with click; raise the error without an answer, KeyboardInterrupt for Ctrl-C.

    click raises Abort for both.
    """
    try:
        yield
    except click.Abort as aborted:
        click.echo(err=True)  # end the line of the prompt
        if isinstance(aborted.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise error from None


def _print(console: Console, parts: Iterable[RenderableType]) -> None:
    for part in parts:
        shown = safe(part) if isinstance(part, str) else part
        is_folded = isinstance(part, TextTable) or not (console.soft_wrap or _is_file(console))
        console.print(shown, soft_wrap=not is_folded)


@contextmanager
def _written() -> Iterator[None]:
    """Print a result; raises CommandError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(
            f"The result cannot be written: {error.strerror}.",
            "The command's changes have been made.",
            ExitCode.FAILURE,
        ) from error


def _console(*, is_stderr: bool) -> Console:
    console = Console(stderr=is_stderr, highlight=False, soft_wrap=is_stderr)
    if _is_file(console):
        console.width = _FILE_WIDTH
    return console


def _is_file(console: Console) -> bool:
    return not console.is_terminal and "COLUMNS" not in os.environ
