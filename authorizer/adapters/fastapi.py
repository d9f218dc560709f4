"""FastAPI security scheme: `Security(AccessTokenScheme(tokens), scopes=["orders.read"])`."""

from collections.abc import Mapping

from fastapi import HTTPException
from fastapi.openapi.models import OAuth2, OAuthFlowClientCredentials, OAuthFlows
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from ..access_tokens import AccessTokenError, AccessTokens
from ..claims import VerifiedToken
from .asgi import verify


class AccessTokenScheme(SecurityBase):
    """Security scheme that verifies the token of a request, with the scopes of its route.

    `scopes` maps each scope to its OpenAPI description. `token_url` is the token endpoint for the
    documentation page. Default: `<issuer>/oauth2/token`.
    """

    def __init__(
        self, tokens: AccessTokens, scopes: Mapping[str, str] | None = None, token_url: str | None = None
    ) -> None:
        url = token_url or f"{tokens.issuer.rstrip('/')}/oauth2/token"
        flow = OAuthFlowClientCredentials(tokenUrl=url, scopes=dict(scopes or {}))
        self.model = OAuth2(flows=OAuthFlows(clientCredentials=flow))
        self.scheme_name = "AccessToken"
        self._tokens = tokens

    async def __call__(self, connection: HTTPConnection, scopes: SecurityScopes) -> VerifiedToken:
        """Return the verified token.

        Raises:
            HTTPException: the request is rejected, or cannot be verified now.
        """
        try:
            return await verify(self._tokens, connection.scope, scopes.scopes)
        except AccessTokenError as error:
            headers = {name: value for name, value in error.headers.items() if name != "Content-Type"}
            raise HTTPException(error.status, {"error": error.error or "unauthorized"}, headers) from error
