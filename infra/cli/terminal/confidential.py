"""How secrets come in and go out: by prompt, file or pipe, never as an argument.

Arguments are in the shell's history and in every process list; the environment is inherited.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from getpass import GetPassWarning
from pathlib import Path
from typing import Final

import click

from infra.cli.terminal.errors import NotFoundError, UsageError
from infra.cli.terminal.output import answered_or

STDIN: Final = Path("-")
_OWNER_ONLY: Final = 0o600


def read_secret(prompt: str, source: Path | None) -> str:
    """Return a secret from a file, from stdin (`-`), or typed at a prompt that shows nothing.

    A line's end after it is no part of it.

    Raises:
        UsageError: it is empty, or not text, or there is no terminal to type it on.
        NotFoundError: the file cannot be read.
        KeyboardInterrupt: the answer is Ctrl-C.
    """
    secret = _typed(prompt) if source is None else _read(source)
    secret = secret.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise UsageError(f"{prompt} is empty.", "Pipe it in, or name a file that holds it.")
    return secret


def write_private_file(path: Path, text: str) -> None:
    """Write a file that only its owner may read, and that was not there before.

    Raises:
        UsageError: it is there already, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already.", "Name a new file.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - of a descriptor
            file.write(text)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


def _typed(prompt: str) -> str:
    with warnings.catch_warnings():
        # Without a terminal the standard library would warn, and read with what is typed on show.
        warnings.simplefilter("error", GetPassWarning)
        nobody = UsageError(
            f"{prompt} is not given, and there is no terminal to type it on.",
            "Name a file that holds it, or - for stdin.",
        )
        try:
            with answered_or(nobody):
                return str(click.prompt(prompt, hide_input=True, err=True))
        except GetPassWarning as error:
            raise nobody from error


def _read(source: Path) -> str:
    try:
        return sys.stdin.read() if source == STDIN else source.read_text(encoding="utf-8")
    except OSError as error:
        raise NotFoundError(f"{source} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is not text in UTF-8.") from error
