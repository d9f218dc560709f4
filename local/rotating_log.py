"""A log file that is rotated by size, which several processes may write at once."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MOST_BYTES", "RotatingLog", "is_json"]

MOST_BYTES = 10_000_000
"""Size of a log file. It is then renamed to end in `.1`, in place of the one before."""


class RotatingLog:
    """Appends to a file, and replaces it when it has reached `most_bytes`."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self._most_bytes = most_bytes
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Append data.

        Raises:
            OSError: the disk is full, or the file cannot be replaced.
        """
        with self._lock:
            if os.fstat(self._file.fileno()).st_size >= self._most_bytes:
                self._rotate()
            self._file.write(data)

    def _rotate(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # Another process may have replaced it already.
            if os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        opened = self.path.open("ab", buffering=0)
        self._file.close()
        self._file = opened

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_json(line: str) -> bool:
    """Whether a line is one of a function's structured log, which is for programs."""
    return line.startswith("{") and line.rstrip().endswith("}")
