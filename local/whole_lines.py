"""Standard output in whole lines: at once, and each in one piece, whoever else writes there."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from typing import TYPE_CHECKING

from local.rotating_log import RotatingLog, is_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WholeLines", "print_whole_lines"]


class WholeLines(io.TextIOBase):
    """Passes a line on to a file descriptor when it is complete, by one call.

    `print` writes a line and its end separately. What a thread has begun waits for its end here,
    so that lines of other threads do not come between; and a pipe keeps what comes by one call
    together (POSIX, write: up to PIPE_BUF, 4,096 bytes on Linux), so that lines of other processes
    do not either.

    With a log, JSON goes there: a terminal gets the lines that are for people.
    """

    def __init__(self, descriptor: int, json_log: RotatingLog | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._json_log = json_log
        self._begun = threading.local()

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Pass a text on, once it ends with the end of a line."""
        whole = getattr(self._begun, "text", "") + text
        if not whole.endswith("\n"):
            self._begun.text = whole
            return len(text)
        self._begun.text = ""
        rest = whole.encode("utf-8", "replace")
        if self._json_log is not None and is_json(whole):
            with contextlib.suppress(OSError):  # a full disk must not fail a request
                self._json_log.write(rest)
            return len(text)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return len(text)


def print_whole_lines(json_log: Path) -> None:
    """Print whole lines from now on, unless standard output is captured already.

    On a terminal, JSON goes to a log file instead.
    """
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        sys.stdout.flush()
        log = None
        if sys.stdout.isatty():
            json_log.parent.mkdir(parents=True, exist_ok=True)
            log = RotatingLog(json_log)
            print(f"The functions' log (JSON) is in {json_log}.", flush=True)
        sys.stdout = WholeLines(sys.stdout.fileno(), log)
