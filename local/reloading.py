"""Restart `chalice local` when the code of the functions changes, end it with its parent.

chalice's own reloader watches its project folder only, and the code lives elsewhere.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from chalice.cli.filewatch import RESTART_REQUEST_RC

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["end", "restart_chalice", "snapshot", "watch"]

_FOLDERS = ("authorizer", "functions", "local")
_SUFFIXES = (".json", ".py")
_POLL_SECONDS = 1.0


def watch(
    root: Path,
    on_change: Callable[[], None],
    on_orphaned: Callable[[], None],
    parent: Callable[[], int] = os.getppid,
) -> None:
    """Follow code and parent from a daemon thread, and say once what came first.

    `on_change` is called when code below `root` or the template changes, `on_orphaned` when the
    process that started this one is gone: chalice's parent process ends without its worker.
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
    """When each watched file was last changed, in nanoseconds since the epoch."""
    found: dict[str, int] = {}
    template = root / "template.yaml"
    if template.exists():
        found[str(template)] = template.stat().st_mtime_ns
    for folder in _FOLDERS:
        for directory, _, names in os.walk(root / folder):
            for name in names:
                if name.endswith(_SUFFIXES):
                    path = os.path.join(directory, name)  # noqa: PTH118 - many files, each second
                    try:
                        found[path] = os.stat(path).st_mtime_ns  # noqa: PTH116 - likewise
                    except FileNotFoundError:
                        continue
    return found


def restart_chalice() -> None:
    """End this worker in the way that makes chalice's parent process start another."""
    os._exit(RESTART_REQUEST_RC)


def end() -> None:
    """End this worker for good."""
    os._exit(0)
