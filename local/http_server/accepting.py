"""Accept connections also while file descriptors are exhausted: log it and pause, never spin."""

from __future__ import annotations

import errno
import sys
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EXHAUSTED", "Accept"]

Accepted = TypeVar("Accepted")
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_SECONDS = 0.1
_SILENT_SECONDS = 10.0


class Accept(Generic[Accepted]):
    """Wraps a call that accepts a connection.

    A server whose listening socket stays readable would otherwise call it again at once, forever.
    """

    def __init__(self, accept: Callable[[], Accepted]) -> None:
        self._accept = accept
        self._logged_at = -_SILENT_SECONDS

    def __call__(self) -> Accepted:
        """Accept a connection; pause before an error that time may resolve.

        Raises:
            OSError: there is none, or it cannot be accepted.
        """
        try:
            return self._accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._pause(error)
            raise

    def _pause(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _SILENT_SECONDS:
            self._logged_at = now
            print(
                f"No connection can be accepted ({error.strerror}): close some, or raise the limit "
                "(ulimit -n).",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(_PAUSE_SECONDS)
