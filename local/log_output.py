"""Standard output in whole lines, and a JSON log file that is rotated by size."""

import contextlib
import io
import os
import sys
import threading
from pathlib import Path

MAX_BYTES = 10_000_000
"""Size of a log file. A full file is renamed to end in `.1` and replaces the previous one."""


class RotatingLog:
    """Appends to a file, and replaces it at `max_bytes`. Several processes may share the file."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Append data.

        Raises:
            OSError: the disk is full, or the file cannot be replaced.
        """
        with self._lock:
            if os.fstat(self._file.fileno()).st_size >= self._max_bytes:
                self._rotate()
            self._file.write(data)

    def _rotate(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # Another process may already have replaced it.
            if os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        opened = self.path.open("ab", buffering=0)
        self._file.close()
        self._file = opened

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_json(line: str) -> bool:
    """Return whether a line is part of a function's structured log."""
    return line.startswith("{") and line.rstrip().endswith("}")


class WholeLines(io.TextIOBase):
    """Writes each line to a file descriptor with one call, when the line is complete.

    `print` writes a line and its end separately. Incomplete lines wait per thread, so that lines of threads are not
    mixed. Lines of processes are not mixed either: a pipe does not split a call of up to PIPE_BUF bytes (POSIX, write).
    With `json_log`, JSON goes to that file instead.
    """

    def __init__(self, descriptor: int, json_log: RotatingLog | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._json_log = json_log
        self._incomplete = threading.local()

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Write a text, as soon as it ends with the end of a line."""
        line = getattr(self._incomplete, "text", "") + text
        if not line.endswith("\n"):
            self._incomplete.text = line
            return len(text)
        self._incomplete.text = ""
        rest = line.encode("utf-8", "replace")
        if self._json_log is not None and is_json(line):
            with contextlib.suppress(OSError):  # a full disk must not fail a request
                self._json_log.write(rest)
            return len(text)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return len(text)


def print_whole_lines(json_log: Path) -> None:
    """Print whole lines from now on, unless standard output is captured already.

    On a terminal, JSON goes to the log file.
    """
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        sys.stdout.flush()
        log = None
        if sys.stdout.isatty():
            json_log.parent.mkdir(parents=True, exist_ok=True)
            log = RotatingLog(json_log)
            print(f"The functions' log (JSON) is in {json_log}.", flush=True)
        sys.stdout = WholeLines(sys.stdout.fileno(), log)


def print_line(line: str) -> None:
    """Write a line to standard output with one call."""
    sys.stdout.write(f"{line}\n")
