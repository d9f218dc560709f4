"""Restart `chalice local` when code or template change, and end it with its parent process.

chalice's reloader watches only its project folder, which does not contain the functions.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from chalice.cli.filewatch import RESTART_REQUEST_RC

_FOLDERS = ("authorizer", "functions", "local")
_SUFFIXES = (".json", ".py")
_POLL_SECONDS = 1.0


def watch(
    root: Path,
    on_change: Callable[[], None],
    on_orphaned: Callable[[], None],
    parent: Callable[[], int] = os.getppid,
) -> None:
    """Watch code and parent in a thread, and call one of the functions once.

    `on_change` is called if code below `root` or the template changes, `on_orphaned` if the parent
    process ends: chalice's parent process does not end its worker.
    """
    before = snapshot(root)
    started_by = parent()

    def poll() -> None:
        while snapshot(root) == before:
            if parent() != started_by:
                on_orphaned()
                return
            time.sleep(_POLL_SECONDS)
        on_change()

    threading.Thread(target=poll, name="reloading", daemon=True).start()


def snapshot(root: Path) -> dict[str, int]:
    """Return the time of each watched file's last change, in nanoseconds since the epoch."""
    found: dict[str, int] = {}
    template = root / "template.yaml"
    if template.exists():
        found[str(template)] = template.stat().st_mtime_ns
    for folder in _FOLDERS:
        for directory, _, names in os.walk(root / folder):
            for name in names:
                if name.endswith(_SUFFIXES):
                    path = os.path.join(directory, name)  # noqa: PTH118 - fast, for many files
                    try:
                        found[path] = os.stat(path).st_mtime_ns  # noqa: PTH116 - fast
                    except FileNotFoundError:
                        continue
    return found


def restart_chalice() -> None:
    """End this worker with the exit code that makes chalice start another one."""
    os._exit(RESTART_REQUEST_RC)


def end() -> None:
    """End this worker without a restart."""
    os._exit(0)
