"""Token verifier and middleware for servers of the MCP Python SDK."""

import json
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from mcp.server.auth.provider import AccessToken

from ..access_tokens import AccessTokenError, AccessTokens, as_tuple
from ..claims import VerifiedToken
from ..errors import Reason
from .asgi import Application, Receive, Scope, Send, respond, verify

METADATA_PATH = "/.well-known/oauth-protected-resource"
MAX_BODY = 4 * 1024 * 1024
"""Bytes of the largest request that `ToolScopesMiddleware` reads: the SDK's default."""


class TokenVerifier:
    """Verifies the tokens of an MCP server: the SDK's `token_verifier`.

    The SDK checks the scopes of `AuthSettings.required_scopes`. Audiences are those of `tokens`; with a single one, it
    is the resource that `AuthSettings.validate_token_resource` is about.
    """

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens
        self._resource = next(iter(tokens.audiences)) if len(tokens.audiences) == 1 else None

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return the SDK's description of a valid token, None for any other.

        Raises:
            AccessTokenError: the token cannot be verified now; see `UnavailableMiddleware`.
        """
        try:
            verified = await self._tokens.verify_async(token)
        except AccessTokenError as error:
            if error.status == 503:
                raise
            return None
        return AccessToken(
            token=token,
            client_id=verified.client_id,
            scopes=sorted(verified.scopes),
            expires_at=int(verified.expires_at),
            resource=self._resource,
            subject=verified.subject,
            claims={**verified.claims, "iss": verified.issuer},
        )


class UnavailableMiddleware:
    """ASGI middleware that responds with 503 if a token cannot be verified now: the SDK has no such case.

    Add it to the SDK's application: `server.streamable_http_app().add_middleware(UnavailableMiddleware)`.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        try:
            await self._app(scope, receive, send)
        except AccessTokenError as error:
            await respond(scope, send, error)


class ToolScopesMiddleware:
    """ASGI middleware that requires the scopes of each tool, which the SDK has no setting for.

    Every request needs a valid token with `scopes`, except those for the server's metadata. A call of a tool needs
    the tool's scopes in addition; a tool that `tools` does not name is closed. A 403 names all scopes of the call, as
    the MCP specification requires for step-up authorization. Responses are those of the library, 503 included.
    """

    def __init__(
        self,
        app: Application,
        tokens: AccessTokens,
        tools: Mapping[str, str | Iterable[str]],
        scopes: str | Iterable[str] = (),
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._scopes = as_tuple(scopes)
        self._tools = {name: (*self._scopes, *as_tuple(needed)) for name, needed in tools.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "lifespan" or scope["path"].startswith(METADATA_PATH):
            await self._app(scope, receive, send)
            return
        try:
            token = await verify(self._tokens, scope, self._scopes)
            if scope["type"] == "http":
                body = await _read_body(receive)
                self._check(token, body)
                receive = _replay(body, receive)
            await self._app(scope, receive, send)
        except AccessTokenError as error:
            await respond(scope, send, error)
        except _BodyError as error:
            content = {"jsonrpc": "2.0", "id": None, "error": {"code": error.code, "message": str(error)}}
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": error.status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(content).encode()})

    def _check(self, token: VerifiedToken, body: bytes) -> None:
        """Check the scopes of the tools that a body calls.

        Raises:
            AccessTokenError: the token lacks a scope, or a tool is closed.
            _BodyError: the body cannot be read.
        """
        for name in _called_tools(body):
            if not isinstance(name, str) or name not in self._tools:
                challenge = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
                raise AccessTokenError(Reason.SCOPE_INSUFFICIENT, 403, "insufficient_scope", challenge)
            self._tokens.require(token, *self._tools[name])


class _BodyError(Exception):
    """Raised for a body that cannot be read, with the error code of JSON-RPC 2.0."""

    def __init__(self, message: str, status: int, code: int) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise _BodyError("Request too large", 413, -32600)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return what gives the application the body that was read, and later messages from `receive`."""
    messages: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return replay


def _called_tools(body: bytes) -> list[object]:
    """Return the names of the tools that a body calls: none, one, or those of a batch.

    The SDK parses the same bytes with another parser. A body that parsers may read differently is rejected, because
    they must agree on the name: other encodings than UTF-8, and objects with duplicate members.

    Raises:
        _BodyError: the body is not JSON, or is ambiguous.
    """
    if not body:
        return []
    try:
        content = json.loads(body.decode("utf-8"), object_pairs_hook=_members)
    except (ValueError, RecursionError):
        raise _BodyError("Parse error", 400, -32700) from None
    names: list[object] = []
    for message in content if isinstance(content, list) else [content]:
        if isinstance(message, dict) and message.get("method") == "tools/call":
            params = message.get("params")
            names.append(params.get("name") if isinstance(params, dict) else None)
    return names


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members
