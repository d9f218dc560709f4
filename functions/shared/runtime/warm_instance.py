"""The one thing that a Lambda process keeps between invocations."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class WarmInstance(Generic[T]):
    """Makes a thing at its first use and keeps it. A failed attempt is tried again."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = Lock()
        self._made: T | None = None

    def __call__(self) -> T:
        """Return the thing, made now if it was not made before."""
        made = self._made
        if made is None:
            with self._lock:
                made = self._made = self._made or self._make()
        return made

    def forget(self) -> None:
        """Start cold again, as a new Lambda process would."""
        self._made = None
