"""The one place that knows which real parts make introspect_token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functions.introspect_token.introspection import TokenIntrospection
from functions.introspect_token.known_tokens import JwtReader, OpaqueReader
from functions.shared.client_authentication import ClientAuthentication, secret_methods
from functions.shared.client_registry import DynamoDbClients, WarmClients
from functions.shared.endpoint import Endpoint
from functions.shared.issued_jwts import IssuedJwts
from functions.shared.opaque_tokens import DynamoDbOpaqueTokens
from functions.shared.secret_store import SecretsManagerStore
from functions.shared.warm_key_ring import WarmKeyRing

if TYPE_CHECKING:
    from functions.introspect_token.settings import Settings
    from functions.shared.audit_log import Emit
    from functions.shared.aws_clients import AwsClients
    from functions.shared.clock import Clock


def build(settings: Settings, *, clock: Clock, aws: AwsClients, emit: Emit = print) -> Endpoint:
    """Compose the endpoint."""
    clients = WarmClients(DynamoDbClients(aws.dynamodb, settings.clients_table), clock)
    tokens = DynamoDbOpaqueTokens(aws.dynamodb, settings.tokens_table)
    key_ring = WarmKeyRing(
        SecretsManagerStore(aws.secrets_manager), settings.key_ring_secret, clock
    )
    jwts = IssuedJwts(settings.issuer, key_ring, clock)
    introspection = TokenIntrospection(
        authentication=ClientAuthentication(clients, secret_methods(), clock),
        registry=clients,
        readers=(OpaqueReader(tokens), JwtReader(jwts)),
        clock=clock,
    )
    return Endpoint("introspect_token", introspection, emit)
