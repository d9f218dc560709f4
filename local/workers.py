"""Worker processes: one of them serves on one core, for Python runs one thread at a time.

Each is forked from a process that has its socket and its code and nothing else yet, so each warms
up by itself, as the execution environments do that Lambda starts under load. They share the
listening socket, and who has more connections than another lets that one take the next.
"""

from __future__ import annotations

import mmap
import os
import re
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

from local.cli import LaptopError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["WORKERS", "Share", "fork_workers", "how_many", "may_fork", "shares"]

WORKERS = "GATEHOUSE_AUTH_WORKERS"
"""Names how many processes serve the authorization server; as many as there are cores if unset."""

_MOST = 64
_NUMBER = re.compile(r"[1-9][0-9]?")
_COUNT_BYTES = 4


def how_many(environ: Mapping[str, str]) -> int:
    """Return how many processes are to serve.

    Raises:
        LaptopError: the setting is no number from 1 to 64.
    """
    wanted = environ.get(WORKERS) or str(min(_cores(), _MOST))
    if not (_NUMBER.fullmatch(wanted) and int(wanted) <= _MOST):
        raise LaptopError(f"{WORKERS} must be a number from 1 to {_MOST}, not {wanted!r}.")
    return int(wanted)


def may_fork() -> bool:
    """Whether forking is safe: not beside other threads, whose locks nobody would open again.

    chalice's reloader has such threads. On macOS the system's own libraries do not bear it.
    """
    return sys.platform == "linux" and threading.active_count() == 1


class Share:
    """One worker's connections, beside those of all of them."""

    def __init__(self, counts: memoryview, own: int) -> None:
        self._counts = counts
        self._own = own
        self._lock = threading.Lock()

    def add(self, change: int) -> None:
        """Count a connection that begins, by 1, or ends, by -1."""
        with self._lock:
            self._counts[self._own] += change

    @property
    def is_ahead(self) -> bool:
        """Whether another worker has fewer."""
        return self._counts[self._own] > min(self._counts)


def shares(workers: int) -> list[Share]:
    """Return a share for each worker, in memory that they keep in common when they are forked."""
    counts = memoryview(mmap.mmap(-1, workers * _COUNT_BYTES)).cast("i")
    return [Share(counts, own) for own in range(workers)]


def fork_workers(workers: int, serve: Callable[[int], None], on_death: Callable[[], None]) -> None:
    """Let further processes run `serve`, each with its number; this one is number 0 of `workers`.

    They end with this one, however it ends.

    `on_death` is called, from a thread, when one of them ends before that.
    """
    # Nobody writes to this pipe: all that can be read there is that its writing end is closed,
    # which happens when this process is gone.
    reading, writing = os.pipe()
    children = [_fork(partial(serve, own), reading, writing) for own in range(1, workers)]
    os.close(reading)
    for pid in children:
        threading.Thread(target=_follow, args=(pid, on_death), daemon=True).start()


def _fork(serve: Callable[[], None], reading: int, writing: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(writing)
            # Ctrl-C reaches every process of a terminal; the first one decides what it means.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            threading.Thread(target=_end_with, args=(reading,), daemon=True).start()
            serve()
        finally:
            os._exit(1)
    return pid


def _end_with(reading: int) -> None:
    os.read(reading, 1)
    os._exit(0)


def _follow(pid: int, on_death: Callable[[], None]) -> None:
    os.waitpid(pid, 0)
    on_death()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
