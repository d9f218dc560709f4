"""ASGI middleware: guards a whole application of Starlette, FastAPI, Litestar, Quart or Django."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from ..access_tokens import AccessTokenError, AccessTokens, HttpRequest, as_tuple
from ..claims import VerifiedToken

TOKEN_KEY = "gatehouse.token"
"""The member of an ASGI scope with the verified token."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class AccessTokenMiddleware:
    """Passes requests with a valid token on. HTTP and WebSocket requests need all of `scopes`.

    Requests for the paths in `public` need no token. A route may require more scopes: an `AccessTokenError` that the
    application raises becomes the response.
    """

    def __init__(
        self, app: Application, tokens: AccessTokens, scopes: str | Iterable[str] = (), public: str | Iterable[str] = ()
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._scopes = as_tuple(scopes)
        self._public = frozenset(as_tuple(public))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "lifespan" or scope["path"] in self._public:
            await self._app(scope, receive, send)
            return
        try:
            token = await verify(self._tokens, scope, self._scopes)
            await self._app({**scope, TOKEN_KEY: token}, receive, send)
        except AccessTokenError as error:
            await respond(scope, send, error)


async def verify(tokens: AccessTokens, scope: Scope, scopes: Iterable[str]) -> VerifiedToken:
    """Verify the request of a connection once. A DPoP proof is valid once.

    Raises:
        AccessTokenError: the request is rejected, or cannot be verified now.
    """
    key = f"{TOKEN_KEY}.{id(tokens)}"
    if key not in scope:
        scope[key] = await tokens.verify_async(read_request(scope))
    return tokens.require(scope[key], *scopes)


def read_request(scope: Scope) -> HttpRequest:
    """Return the request of an ASGI scope."""
    raw_path = scope.get("raw_path")
    return HttpRequest(
        scope.get("method", "GET"),
        scope["path"] if raw_path is None else raw_path.decode("latin-1").partition("?")[0],
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        scope["query_string"].decode("latin-1"),
        path_was_decoded=raw_path is None,
    )


async def respond(scope: Scope, send: Send, error: AccessTokenError) -> None:
    """Send the response to a rejected request."""
    kind = "http.response"
    if scope["type"] == "websocket":
        kind = "websocket.http.response"
        if kind not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
    body = error.body
    fields = {**error.headers, "Content-Length": str(len(body))}
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": f"{kind}.start", "status": error.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
