"""Errors of the command line and its exit codes."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


class ExitCode(IntEnum):
    """What the command tells the shell; docs/reference/cli.md is written from the docstrings."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NOT_FOUND = 3
    TROUBLE = 4
    CONFLICT = 5
    INTERRUPTED = 130


EXIT_CODES: Final[Mapping[ExitCode, str]] = {
    ExitCode.DONE: "done, and nothing to find fault with",
    ExitCode.REFUSED: "findings, drift, or an operation that a rule or a person refused",
    ExitCode.USAGE: "the command line or a file given to it is wrong; nothing was changed",
    ExitCode.NOT_FOUND: "no such stack, client, key or file",
    ExitCode.TROUBLE: "AWS, the network, a full disk, a broken record: no permission, no answer",
    ExitCode.CONFLICT: "somebody else changed it meanwhile; their change was kept, run it again",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}


class CommandError(Exception):
    """One sentence that says what is wrong, one that says what to do, and the exit code."""

    def __init__(self, problem: str, next_step: str, code: ExitCode = ExitCode.REFUSED) -> None:
        super().__init__(f"{problem} {next_step}".strip())
        self.problem = problem
        self.next_step = next_step
        self.code = code


class UsageError(CommandError):
    """Raised for what was typed, or written into a file, and makes no sense."""

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(problem, next_step, ExitCode.USAGE)


class NotFoundError(CommandError):
    """Raised for a stack, client, key or file that is not there."""

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(problem, next_step, ExitCode.NOT_FOUND)


class ConflictError(CommandError):
    """Raised when somebody else wrote first. What they wrote was kept."""

    def __init__(self, problem: str, next_step: str = "Run the command again.") -> None:
        super().__init__(problem, next_step, ExitCode.CONFLICT)


LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""The names of this machine, which no proxy is asked about."""


class UnreachableError(CommandError):
    """Raised when there is no answer at all."""

    def __init__(self, url: str, why: object) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        super().__init__(
            f"{self.host} does not answer: {why}.",
            "Is 'make run' up, and on these ports (GATEHOUSE_AUTH_PORT and others)?"
            if parts.hostname in LOOPBACK
            else "Is it the region (--region), the name, the network or a proxy?",
            ExitCode.TROUBLE,
        )
