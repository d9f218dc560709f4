"""POST /oauth2/introspect."""

from __future__ import annotations

import os
from dataclasses import dataclass

from authorizer.aws import Aws
from authorizer.metrics import Meter

from ..shared.authentication.client_authentication import build_client_authentication
from ..shared.clients.client_registry import CachedClients, DynamoDbClients
from ..shared.keys.cached_key_ring import CachedKeyRing
from ..shared.keys.signers import RingSigners
from ..shared.runtime.lambda_function import SYSTEM_CLOCK, Clock, EnvironmentSettings, LambdaHandler
from ..shared.storage.aws import make_aws
from ..shared.storage.secrets_manager import SecretStore
from ..shared.tokens.token_lookup import TokenLookup, build_token_stores
from ..shared.web.audit import Emit
from ..shared.web.endpoint import Endpoint
from .introspection import JwtResponder, TokenIntrospection


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


def build(settings: Settings, *, clock: Clock, aws: Aws, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint."""
    meter = meter or Meter(clock=clock)
    clients = CachedClients(DynamoDbClients(aws, settings.clients_table), clock)
    secrets = SecretStore(aws)
    key_ring = CachedKeyRing(secrets, settings.key_ring_secret, clock)
    stores = build_token_stores(
        issuer=settings.issuer,
        tokens_table=settings.tokens_table,
        state_table=settings.state_table,
        key_ring=key_ring,
        aws=aws,
        clock=clock,
    )
    signers = RingSigners(key_ring, secrets, settings.signing_keys_secret, aws, meter)
    introspection = TokenIntrospection(
        authentication=build_client_authentication(
            issuer=settings.issuer,
            state_table=settings.state_table,
            remote_keys=settings.remote_keys,
            registry=clients,
            aws=aws,
            clock=clock,
        ),
        tokens=TokenLookup(stores, clients),
        jwt_responder=JwtResponder(settings.issuer, signers),
        clock=clock,
    )
    return Endpoint("introspect_token", introspection, emit, ("POST",), meter)


handle = LambdaHandler(
    lambda: build(Settings.from_env(os.environ), clock=SYSTEM_CLOCK, aws=make_aws(), meter=Meter.from_env(os.environ))
)
