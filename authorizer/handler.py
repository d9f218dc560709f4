"""The Lambda function: `authorizer.handler.handle`."""

# ruff: noqa: E402 - no import makes garbage, and looking for it takes a twentieth of a cold start
import gc

gc.disable()

import os
from _thread import allocate_lock
from collections.abc import Mapping
from functools import cache

from authorizer.app import build
from authorizer.authorizer import BaseAuthorizer
from authorizer.errors import Unauthorized
from authorizer.settings import Settings

gc.enable()

_SECONDS_TO_ANSWER = 0.5
_building = allocate_lock()  # a laptop's gateway calls us from several threads


def handle(event: Mapping[str, object], context: object) -> dict[str, object]:
    """Answer an API Gateway authorizer event with an IAM policy; raise `Unauthorized` for 401."""
    with _building:
        gate, fetch_timeout = _warm()
    try:
        return gate.decide(event, min(fetch_timeout, _seconds_left(context)))
    except Unauthorized:
        pass
    # Raised here, because the runtime logs the whole stack trace of each 401 at any log level.
    raise Unauthorized


@cache
def _warm() -> tuple[BaseAuthorizer, float]:
    """Build the authorizer once per sandbox: its key set, tokens and policies stay warm here."""
    settings = Settings.from_env(os.environ)
    return build(settings), settings.fetch_timeout


def _seconds_left(context: object) -> float:
    """Leave enough of the invocation's time to answer: who is timed out cannot even say why."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return float("inf")
    return max(0.0, float(remaining()) / 1000 - _SECONDS_TO_ANSWER)
