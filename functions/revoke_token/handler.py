"""POST /oauth2/revoke. RFC 7009."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from authorizer.aws import Aws
from authorizer.metrics import Meter

from ..shared.authentication.client_authentication import ClientAuthentication
from ..shared.authorization_server import AuthorizationServer, ServerSettings
from ..shared.clients.client import Client
from ..shared.lambda_function import SYSTEM_CLOCK, Clock, LambdaHandler
from ..shared.storage.aws_calls import make_aws
from ..shared.tokens.token_lookup import TokenStore
from ..shared.web.audit import AuditEntry, Emit
from ..shared.web.endpoint import NO_STORE, Endpoint, ProxyResponse, json_response
from ..shared.web.form import read_form
from ..shared.web.oauth_errors import UnauthorizedClientError
from ..shared.web.proxy_request import ProxyRequest


@dataclass(frozen=True, slots=True)
class TokenRevocation:
    """Responds to revocation requests."""

    authentication: ClientAuthentication
    stores: Sequence[TokenStore]
    clock: Clock

    def __call__(self, request: ProxyRequest, audit: AuditEntry) -> ProxyResponse:
        """Respond to one request. A token that is not active any more is a success, too: 200.

        `token_type_hint` is not read: a token's form identifies its type. RFC 7009, 2.1 and 2.2.

        Raises:
            UnauthorizedClientError: the token was issued to another client. RFC 7009, 2.1.
            OAuthError: the caller is not authenticated, or `token` is missing.
        """
        form = read_form(request)
        client = self.authentication.authenticate(request, form, audit)
        audit.note(revoked=self._revoke(form.require("token"), client))
        # RFC 7009, 2.2, needs the status only, but some clients insist on JSON, as simple-oauth2.
        return json_response(200, {}, NO_STORE)

    def _revoke(self, unverified_token: str, client: Client) -> bool:
        now = self.clock()
        for store in self.stores:
            active = store.find(unverified_token, now)
            if active is None:
                continue
            if active.client_id != client.client_id:
                raise UnauthorizedClientError("The token was not issued to this client.")
            store.revoke(unverified_token, active)
            return True
        return False


def build(
    settings: ServerSettings, *, clock: Clock, aws: Aws, emit: Emit = print, meter: Meter | None = None
) -> Endpoint:
    """Compose the endpoint."""
    server = AuthorizationServer(settings, aws, clock)
    revocation = TokenRevocation(authentication=server.authentication(), stores=server.token_stores(), clock=clock)
    return Endpoint("revoke_token", revocation, emit, ("POST",), meter or Meter(clock=clock), server.key_ring.current)


handle = LambdaHandler(
    lambda: build(
        ServerSettings.from_env(os.environ), clock=SYSTEM_CLOCK, aws=make_aws(), meter=Meter.from_env(os.environ)
    )
)
