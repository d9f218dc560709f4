"""An issuer over HTTP, whose tokens are valid now."""

import time
from typing import Any

from authorizer.access_tokens import AccessTokens
from tests.support.answers_server import AnswersServer, Reply
from tests.support.tokens import claims, jwks, mint, rsa_jwk

AUDIENCE = "https://orders.example"
JWKS_PATH = "GET /oauth2/jwks"


class HttpIssuer:
    """Issues tokens, and publishes the key through a server."""

    def __init__(self, server: AnswersServer) -> None:
        self.server = server
        self.url = server.url
        server.answers[JWKS_PATH] = Reply(200, jwks(rsa_jwk()).decode())

    def token(self, **changes: object) -> str:
        defaults = {"iss": self.url, "aud": AUDIENCE, "scope": "orders.read orders.write"}
        return mint(claims(int(time.time()), **defaults | changes))

    def access_tokens(self, **options: Any) -> AccessTokens:
        return AccessTokens(**{"issuer": self.url, "audience": AUDIENCE} | options)

    def fetches(self) -> int:
        return sum(request.path == "/oauth2/jwks" for request in self.server.received)
