"""Where results, notes and questions go: for people on a terminal, or for programs as JSON."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.text import Text

from infra.cli.terminal.errors import CommandError, ExitCode
from infra.cli.terminal.rows import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

_FILE_WIDTH: Final = 80
"""Width of a table in a file or a pipe. Other text is not folded there."""


class Terminal:
    """A person's terminal, or a program's two streams."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._output = _console(is_stderr=False)
        self._notes = _console(is_stderr=True)
        self._is_busy = False

    def show(self, payload: object, *parts: RenderableType) -> None:
        """Show a command's result: `payload` as JSON to programs, `parts` to people."""
        if self.as_json:
            self.write(json.dumps(payload, indent=2))
        else:
            with _written():
                _print(self._output, parts)

    def write(self, text: str) -> None:
        """Write a line to stdout as it is: no colour, no folding."""
        with _written():
            click.echo(text)

    @property
    def width(self) -> int:
        """How many columns there are."""
        return self._output.width

    def note(self, text: str) -> None:
        """Tell a person, beside the result. Programs get the result alone."""
        if not self.as_json:
            self._notes.print(safe(text))

    def note_parts(self, *parts: RenderableType) -> None:
        """Show a person, beside the result, what a question is about."""
        if not self.as_json:
            _print(self._notes, parts)

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

    @contextmanager
    def progress(self, doing: str) -> Iterator[None]:
        """Show what is being done, with a spinner, where a person watches.

        What is a part of something that is shown already is not shown beside it.
        """
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


def _print(console: Console, parts: Iterable[RenderableType]) -> None:
    for part in parts:
        is_text = isinstance(part, str | Text)
        shown = safe(part) if isinstance(part, str) else part
        console.print(shown, soft_wrap=is_text and (console.soft_wrap or _is_file(console)))


@contextmanager
def _written() -> Iterator[None]:
    """Write a result; say so when that is not possible, as on a full disk.

    Raises:
        CommandError: it could not be written. A pipe that nobody reads any more is no error of it.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(
            f"The result cannot be written: {error.strerror}.",
            "What the command was to change is changed.",
            ExitCode.TROUBLE,
        ) from error


def _console(*, is_stderr: bool) -> Console:
    console = Console(stderr=is_stderr, highlight=False, soft_wrap=is_stderr)
    if _is_file(console):
        console.width = _FILE_WIDTH
    return console


def _is_file(console: Console) -> bool:
    return not console.is_terminal and "COLUMNS" not in os.environ
