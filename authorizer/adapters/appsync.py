"""Lambda authorizer of an AppSync API, which has an event and a response of its own.

https://docs.aws.amazon.com/appsync/latest/devguide/security-authz.html
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..access_tokens import AccessTokenError, AccessTokens
from ..responses import write_context

MAX_TTL = 3600


def authorizer(
    tokens: AccessTokens, *scopes: str, fields: Mapping[str, str] | None = None, ttl: int = 60
) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """Return the handler of a function that accepts tokens with all of these scopes.

    `fields` has a scope for each guarded field, such as `{"Mutation.createOrder": "orders.write"}`.
    AppSync caches a response for `ttl` seconds, and never longer than the token is valid. The client
    sends the token in the Authorization header, with or without the scheme Bearer. If verification
    fails, the function raises, and AppSync caches nothing.
    """
    required = dict(fields or {})

    def authorize(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
        value = str(event.get("authorizationToken") or "")
        credentials = value if " " in value else f"Bearer {value}"
        try:
            token = tokens.verify({"type": "TOKEN", "authorizationToken": credentials}, *scopes)
        except AccessTokenError as error:
            if error.status == 503:
                raise
            return {"isAuthorized": False, "ttlOverride": 0}
        left = int(token.expires_at - time.time())
        return {
            "isAuthorized": True,
            "resolverContext": write_context(token),
            "deniedFields": [field for field, scope in required.items() if scope not in token.scopes],
            "ttlOverride": max(0, min(left, ttl, MAX_TTL)),
        }

    return authorize
