"""Let the threads of a server answer one after another."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Turns"]


class Turns:
    """Lets threads go on one after another, as long as that goes quickly.

    Only one of them can run at a time anyway. Were it left to the interpreter, those that wait
    would be woken whenever the one that runs reads or writes, mostly for nothing. Who has waited
    as long as the interpreter lets a thread run goes on: the one before waits for something else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Wait for one's turn, and end it on leaving."""
        taken = self._lock.acquire(timeout=sys.getswitchinterval())
        try:
            yield
        finally:
            if taken:
                self._lock.release()
