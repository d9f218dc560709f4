"""The Lambda function: `authorizer.handler.handle`."""

# ruff: noqa: E402 - imports create no garbage, and the collector takes a twentieth of a cold start
import gc

gc.disable()

import os
from _thread import allocate_lock
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

from .app import build
from .authorizer import LambdaAuthorizer
from .clock import Deadline
from .errors import AuthorizerUnavailableError, Unauthorized
from .event import AuthorizerEvent
from .initialization import MAX_SECONDS, initialize
from .settings import Settings

gc.freeze()
gc.enable()

_SECONDS_TO_RESPOND = 0.5
_building = allocate_lock()  # the laptop's gateway calls the function from several threads


def handle(event: Mapping[str, object], context: object) -> dict[str, object]:
    """Return an IAM policy for an API Gateway authorizer event; raise `Unauthorized` for 401."""
    with _building:
        authorizer, fetch_timeout = _build()
    deadline = Deadline(min(fetch_timeout, _seconds_left(context)))
    try:
        return authorizer.decide(AuthorizerEvent(event), deadline)
    except Unauthorized:
        pass
    # Raised here, because the runtime logs the whole stack trace of each 401 at any log level.
    raise Unauthorized


@cache
def _build() -> tuple[LambdaAuthorizer, float]:
    """Build the authorizer once per sandbox, with its caches."""
    settings = Settings.from_env(os.environ)
    return build(settings), settings.fetch_timeout


def _seconds_left(context: object) -> float:
    """Return the time of the invocation, less the time to respond and to log."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return float("inf")
    return max(0.0, float(remaining()) / 1000 - _SECONDS_TO_RESPOND)


def _prepare() -> None:
    authorizer, _ = _build()
    deadline = Deadline(MAX_SECONDS)
    for fetch in authorizer.preparations:
        with suppress(AuthorizerUnavailableError):
            fetch(deadline)


initialize(_build, _prepare)
