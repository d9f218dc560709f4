"""POST /oauth2/introspect."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authorizer.metrics import Meter
from functions.introspect_token.introspection import JwtResponder, TokenIntrospection
from functions.shared.authentication.client_authentication import build_client_authentication
from functions.shared.clients.client_registry import CachedClients, DynamoDbClients
from functions.shared.keys.signers import RingSigners
from functions.shared.keys.warm_key_ring import WarmKeyRing
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.clock import SYSTEM_CLOCK
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.runtime.settings import EnvironmentSettings
from functions.shared.runtime.warm_instance import LambdaHandler
from functions.shared.tokens.known_tokens import KnownTokens
from functions.shared.tokens.known_tokens_parts import build_known_formats
from functions.shared.web.endpoint import Endpoint

if TYPE_CHECKING:
    from functions.shared.runtime.clock import Clock
    from functions.shared.web.audit_log import Emit


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The issuer, three tables by name, and two secrets by name or ARN.

    `remote_keys` is "loopback" where JWK Sets of clients and issuers may be on this machine.
    """

    issuer: str
    clients_table: str
    tokens_table: str
    state_table: str
    key_ring_secret: str
    signing_keys_secret: str
    remote_keys: str = ""


def build(
    settings: Settings,
    *,
    clock: Clock,
    aws: AwsClients,
    emit: Emit = print,
    meter: Meter | None = None,
) -> Endpoint:
    """Compose the endpoint."""
    meter = meter or Meter(clock=clock)
    clients = CachedClients(DynamoDbClients(aws.dynamodb, settings.clients_table), clock)
    secrets = SecretsManagerStore(aws.secrets_manager)
    key_ring = WarmKeyRing(secrets, settings.key_ring_secret, clock)
    formats = build_known_formats(settings, key_ring=key_ring, aws=aws, clock=clock)
    signers = RingSigners(key_ring, secrets, settings.signing_keys_secret, lambda: aws.kms, meter)
    introspection = TokenIntrospection(
        authentication=build_client_authentication(
            issuer=settings.issuer,
            state_table=settings.state_table,
            remote_keys=settings.remote_keys,
            registry=clients,
            aws=aws,
            clock=clock,
        ),
        tokens=KnownTokens(formats, clients),
        jwt_responder=JwtResponder(settings.issuer, signers),
        clock=clock,
    )
    return Endpoint("introspect_token", introspection, emit, ("POST",), meter)


handle = LambdaHandler(
    lambda: build(
        Settings.from_env(os.environ),
        clock=SYSTEM_CLOCK,
        aws=AwsClients(),
        meter=Meter.from_env(os.environ),
    )
)
