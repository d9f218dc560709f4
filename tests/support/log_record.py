"""Storage of a test run's log lines, which are searched at its end."""

import os
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

FOLDER = "GATEHOUSE_TEST_LOGS"
"""Environment variable with the folder. Without it nothing is stored."""


def new_file(name: str) -> Path:
    """Return a file that the lines of one process can be written to."""
    folder = os.environ.get(FOLDER)
    return Path(folder) / f"{name}-{uuid4()}.log" if folder else Path(os.devnull)


def keep(name: str, lines: Iterable[str]) -> None:
    """Store lines of a process."""
    new_file(name).write_text("".join(lines), encoding="utf-8")


def keep_files(folder: Path) -> None:
    """Store the logs of a folder, one per process."""
    for path in folder.glob("*.log"):
        keep(path.stem, path.read_text(encoding="utf-8", errors="replace"))
