"""Decorator for Lambda functions behind a function URL, a load balancer, a REST API or an HTTP API.

A REST API renames the header `WWW-Authenticate` of a function to `x-amzn-Remapped-WWW-Authenticate`.
Its gateway responses can contain the header: use the Lambda authorizer there.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from ..access_tokens import AccessTokenError, AccessTokens

TOKEN_KEY = "gatehouse.token"
"""The member of the event with the verified token."""

Handler = Callable[[dict[str, Any], Any], Any]


def require(tokens: AccessTokens, *scopes: str) -> Callable[[Handler], Handler]:
    """Call the handler for requests with a valid token that has all of these scopes."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        def guarded(event: dict[str, Any], context: Any) -> Any:
            try:
                token = tokens.verify(event, *scopes)
            except AccessTokenError as error:
                return write_response(event, error)
            return handler({**event, TOKEN_KEY: token}, context)

        return guarded

    return decorate


def write_response(event: Mapping[str, Any], error: AccessTokenError) -> dict[str, Any]:
    """Return the response to a rejected request."""
    response: dict[str, Any] = {"statusCode": error.status, "body": error.body.decode(), "isBase64Encoded": False}
    # A load balancer reads either of the two, according to its setting.
    if "multiValueHeaders" in event:
        response["multiValueHeaders"] = {name: [value] for name, value in error.headers.items()}
    else:
        response["headers"] = dict(error.headers)
    return response
