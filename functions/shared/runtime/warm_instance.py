"""What a Lambda process builds once and uses for every invocation."""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Event = Mapping[str, Any]


class WarmInstance(Generic[T]):
    """Builds an object at its first use and caches it. A failed build is repeated."""

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._lock = Lock()
        self._built: T | None = None

    def __call__(self) -> T:
        """Return the object."""
        built = self._built
        if built is None:
            with self._lock:
                built = self._built = self._built or self._build()
        return built

    def reset(self) -> None:
        """Build again at the next use, as a new Lambda process does."""
        self._built = None


class LambdaHandler(Generic[T]):
    """A Lambda handler: passes each event to the function that `build` returns."""

    def __init__(self, build: Callable[[], Callable[[Event], T]]) -> None:
        self._instance = WarmInstance(build)

    def __call__(self, event: Event, context: object) -> T:
        """Handle one event."""
        return self._instance()(event)

    def reset(self) -> None:
        """Build again at the next event, as a new Lambda process does."""
        self._instance.reset()
