"""Middleware for the Event Handler of Powertools for AWS Lambda."""

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.event_handler import Response

from ..access_tokens import AccessTokenError, AccessTokens


def require(tokens: AccessTokens, *scopes: str) -> Callable[..., Response[Any]]:
    """Return a middleware for requests with a valid token that has all of these scopes.

    The route finds it as `app.context["access_token"]`.
    """

    def require_access_token(app: Any, next_middleware: Callable[[Any], Response[Any]]) -> Response[Any]:
        try:
            token = tokens.verify(app.current_event.raw_event, *scopes)
        except AccessTokenError as error:
            headers = {name: value for name, value in error.headers.items() if name != "Content-Type"}
            return Response(error.status, "application/json", error.body.decode(), headers=dict(headers))
        app.append_context(access_token=token)
        return next_middleware(app)

    return require_access_token
