"""Worker processes, one per core, because Python runs one thread at a time.

Workers are forked before anything is cached, as Lambda starts environments under load. They share
the listening socket, and a worker with more connections leaves the next one to another.
"""

import mmap
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial

from local.cli import LaptopError

WORKERS = "GATEHOUSE_AUTH_WORKERS"
"""Sets the number of processes of the authorization server. Default: the number of cores."""

_MAX_WORKERS = 64
_NUMBER = re.compile(r"[1-9][0-9]?")
_COUNT_BYTES = 4


def worker_count(environ: Mapping[str, str]) -> int:
    """Return the number of worker processes.

    Raises:
        LaptopError: the setting is not a number from 1 to 64.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    text = environ.get(WORKERS) or str(min(cores, _MAX_WORKERS))
    if not (_NUMBER.fullmatch(text) and int(text) <= _MAX_WORKERS):
        raise LaptopError(f"{WORKERS} must be a number from 1 to {_MAX_WORKERS}, not {text!r}.")
    return int(text)


def may_fork() -> bool:
    """Return whether forking is safe: on Linux, and before other threads hold locks.

    chalice's reloader has such threads, and the system libraries of macOS do not support it.
    """
    return sys.platform == "linux" and threading.active_count() == 1


class Share:
    """Counts the connections of one worker, and compares them with those of all workers."""

    def __init__(self, counts: memoryview, worker: int) -> None:
        self._counts = counts
        self._worker = worker
        self._lock = threading.Lock()

    def add(self, change: int) -> None:
        """Add 1 for a connection that begins, -1 for one that ends."""
        with self._lock:
            self._counts[self._worker] += change

    @property
    def is_ahead(self) -> bool:
        """True if another worker has fewer."""
        return self._counts[self._worker] > min(self._counts)


def shares(workers: int) -> list[Share]:
    """Return a share for each worker, in memory that forked processes share."""
    counts = memoryview(mmap.mmap(-1, workers * _COUNT_BYTES)).cast("i")
    return [Share(counts, worker) for worker in range(workers)]


def fork_workers(workers: int, serve: Callable[[int], None], on_death: Callable[[], None]) -> None:
    """Fork processes that run `serve` with their number; this process is number 0.

    They end with this process, even if it is killed. `on_death` is called from a thread when one of them ends earlier.
    """
    # Nothing is written to this pipe. Its writing end closes when this process ends.
    reading, writing = os.pipe()
    children = [_fork(partial(serve, worker), reading, writing) for worker in range(1, workers)]
    os.close(reading)

    def await_death(pid: int) -> None:
        os.waitpid(pid, 0)
        on_death()

    for pid in children:
        threading.Thread(target=await_death, args=(pid,), daemon=True).start()


def _fork(serve: Callable[[], None], reading: int, writing: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid

    def end_with_parent() -> None:
        os.read(reading, 1)
        os._exit(0)

    try:
        os.close(writing)
        # Ctrl-C reaches every process of a terminal. The first process handles it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=end_with_parent, daemon=True).start()
        serve()
    finally:
        os._exit(1)
