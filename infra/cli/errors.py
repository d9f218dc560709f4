"""Errors of the command line and its exit codes."""

from collections.abc import Mapping
from enum import IntEnum
from urllib.parse import urlsplit


class ExitCode(IntEnum):
    """Exit codes of the commands."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NOT_FOUND = 3
    FAILURE = 4
    CONFLICT = 5
    INTERRUPTED = 130


EXIT_CODES: Mapping[ExitCode, str] = {
    ExitCode.DONE: "success, without findings",
    ExitCode.REFUSED: "findings, differences, or an operation that a rule or the operator rejected",
    ExitCode.USAGE: "the arguments or an input file are not valid; nothing was changed",
    ExitCode.NOT_FOUND: "the stack, client, rule, key or file does not exist",
    ExitCode.FAILURE: "AWS, network or disk failure, missing permission, unreadable record",
    ExitCode.CONFLICT: "another process changed the same item, and its change stays; run it again",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}


class CommandError(Exception):
    """An error with the problem, the next step and the exit code."""

    def __init__(self, problem: str, next_step: str, code: ExitCode = ExitCode.REFUSED) -> None:
        super().__init__(f"{problem} {next_step}".strip())
        self.problem = problem
        self.next_step = next_step
        self.code = code


class UsageError(CommandError):
    """Raised for arguments and input files that are not valid."""

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(problem, next_step, ExitCode.USAGE)


class NotFoundError(CommandError):
    """Raised for a stack, client, key or file that does not exist."""

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(problem, next_step, ExitCode.NOT_FOUND)


class ConflictError(CommandError):
    """Raised when another process wrote first. Its change stays."""

    def __init__(self, problem: str, next_step: str = "Run the command again.") -> None:
        super().__init__(problem, next_step, ExitCode.CONFLICT)


LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Host names of this machine, which bypass the proxy."""


class UnreachableError(CommandError):
    """Raised when a server does not respond."""

    def __init__(self, url: str, why: object) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        super().__init__(
            f"{self.host} does not respond: {why}.",
            "Start it with 'make run', or set the ports (GATEHOUSE_AUTH_PORT and others)."
            if parts.hostname in LOOPBACK
            else "Check the region (--region), the host name, the network and the proxy.",
            ExitCode.FAILURE,
        )
