"""A Lambda function's process: its clock, its settings, and the object that it builds once."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from threading import Lock
from typing import Any, Generic, ParamSpec, Self, TypeVar

from authorizer.initialization import initialize

T = TypeVar("T")
Parameters = ParamSpec("Parameters")
Event = Mapping[str, Any]

Clock = Callable[[], float]
"""Returns seconds since the epoch."""

SYSTEM_CLOCK: Clock = time.time


class MissingSettingsError(Exception):
    """Raised when required environment variables are absent or empty."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"Missing environment variables: {', '.join(names)}")
        self.names = tuple(names)


@dataclass(frozen=True, slots=True)
class EnvironmentSettings:
    """Settings from environment variables. A subclass has a field for each setting.

    Each field is a string, and its variable has the same name in upper case. A field with a default is optional.
    """

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            MissingSettingsError: names every required variable that is absent or empty.
        """
        given = {field.name: environ.get(field.name.upper(), "").strip() for field in fields(cls)}
        missing = [field.name.upper() for field in fields(cls) if not given[field.name] and field.default is MISSING]
        if missing:
            raise MissingSettingsError(missing)
        return cls(**{name: value for name, value in given.items() if value})


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


def on_first_use(build: Callable[[], Callable[Parameters, T]]) -> Callable[Parameters, T]:
    """Return a function that `build` returns, built at its first call. Modules that few requests need load there."""
    built = WarmInstance(build)

    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> T:
        return built()(*args, **kwargs)

    return call


class LambdaHandler(Generic[T]):
    """A Lambda handler: passes each event to the function that `build` returns.

    In Lambda, that function is built during the initialization. If it has a method `prepare`, that fetches what a
    first request needs.
    """

    def __init__(self, build: Callable[[], Callable[[Event], T]]) -> None:
        self._instance = WarmInstance(build)
        initialize(self._instance, self._prepare)

    def __call__(self, event: Event, context: object) -> T:
        """Handle one event."""
        return self._instance()(event)

    def _prepare(self) -> None:
        prepare = getattr(self._instance(), "prepare", None)
        if prepare:
            prepare()

    def reset(self) -> None:
        """Build again at the next event, as a new Lambda process does."""
        self._instance.reset()
