"""POST /oauth2/revoke. RFC 7009."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authorizer.metrics import Meter
from functions.shared.authentication.client_authentication import build_client_authentication
from functions.shared.clients.client_registry import CachedClients, DynamoDbClients
from functions.shared.keys.warm_key_ring import WarmKeyRing
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.clock import SYSTEM_CLOCK
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.runtime.settings import EnvironmentSettings
from functions.shared.runtime.warm_instance import LambdaHandler
from functions.shared.tokens.known_tokens_parts import build_known_formats
from functions.shared.web.endpoint import Endpoint
from functions.shared.web.form import read_form
from functions.shared.web.oauth_errors import UnauthorizedClientError
from functions.shared.web.responses import NO_STORE, ProxyResponse, json_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functions.shared.authentication.client_authentication import ClientAuthentication
    from functions.shared.clients.client import Client
    from functions.shared.runtime.clock import Clock
    from functions.shared.tokens.known_tokens import KnownFormat
    from functions.shared.web.audit_log import AuditEntry, Emit
    from functions.shared.web.proxy_request import ProxyRequest


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The issuer, three tables by name, and the key ring by name or ARN.

    `remote_keys` is "loopback" where JWK Sets of clients and issuers may be on this machine.
    """

    issuer: str
    clients_table: str
    tokens_table: str
    state_table: str
    key_ring_secret: str
    remote_keys: str = ""


@dataclass(frozen=True, slots=True)
class TokenRevocation:
    """Responds to revocation requests."""

    authentication: ClientAuthentication
    formats: Sequence[KnownFormat]
    clock: Clock

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        """Respond to one request. A token that is not active any more is a success, too: 200.

        `token_type_hint` is not read: a token's form identifies its type. RFC 7009, 2.1 and 2.2.

        Raises:
            UnauthorizedClientError: the token was issued to another client. RFC 7009, 2.1.
            OAuthError: the caller is not authenticated, or `token` is missing.
        """
        form = read_form(request)
        client = self.authentication.authenticate(request, form, entry)
        entry.note(revoked=self._revoke(form.require("token"), client))
        # RFC 7009, 2.2, needs the status only, but some clients insist on JSON, as simple-oauth2.
        return json_response(200, {}, NO_STORE)

    def _revoke(self, unverified_token: str, client: Client) -> bool:
        now = self.clock()
        for tokens in self.formats:
            known = tokens.find(unverified_token, now)
            if known is None:
                continue
            if known.client_id != client.client_id:
                raise UnauthorizedClientError("The token was not issued to this client.")
            tokens.revoke(unverified_token, known)
            return True
        return False


def build(
    settings: Settings,
    *,
    clock: Clock,
    aws: AwsClients,
    emit: Emit = print,
    meter: Meter | None = None,
) -> Endpoint:
    """Compose the endpoint."""
    clients = CachedClients(DynamoDbClients(aws.dynamodb, settings.clients_table), clock)
    secrets = SecretsManagerStore(aws.secrets_manager)
    key_ring = WarmKeyRing(secrets, settings.key_ring_secret, clock)
    revocation = TokenRevocation(
        authentication=build_client_authentication(
            issuer=settings.issuer,
            state_table=settings.state_table,
            remote_keys=settings.remote_keys,
            registry=clients,
            aws=aws,
            clock=clock,
        ),
        formats=build_known_formats(settings, key_ring=key_ring, aws=aws, clock=clock),
        clock=clock,
    )
    return Endpoint("revoke_token", revocation, emit, ("POST",), meter or Meter(clock=clock))


handle = LambdaHandler(
    lambda: build(
        Settings.from_env(os.environ),
        clock=SYSTEM_CLOCK,
        aws=AwsClients(),
        meter=Meter.from_env(os.environ),
    )
)
