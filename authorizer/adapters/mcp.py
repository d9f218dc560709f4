"""Token verifier for servers of the MCP Python SDK."""

from mcp.server.auth.provider import AccessToken

from ..access_tokens import AccessTokenError, AccessTokens
from .asgi import Application, Receive, Scope, Send, respond


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
            claims={"iss": verified.issuer},
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
