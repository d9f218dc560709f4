"""POST /oauth2/token."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authorizer.metrics import Meter
from functions.issue_token.grants import GrantDecisions, grant_client_credentials
from functions.issue_token.minting import JwtMint, OpaqueMint
from functions.issue_token.nonces import DpopNonces
from functions.issue_token.proof_of_possession import PossessionCheck
from functions.issue_token.token_endpoint import TokenEndpoint
from functions.issue_token.token_exchange import TokenExchange
from functions.shared.authentication.client_authentication import build_client_authentication
from functions.shared.clients.client import CLIENT_CREDENTIALS, TOKEN_EXCHANGE, TokenFormat
from functions.shared.clients.client_registry import CachedClients, DynamoDbClients
from functions.shared.keys.signers import RingSigners
from functions.shared.keys.warm_key_ring import WarmKeyRing
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.clock import SYSTEM_CLOCK
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.runtime.settings import EnvironmentSettings
from functions.shared.runtime.warm_instance import LambdaHandler
from functions.shared.storage.state_table import DynamoDbOneTimeUse
from functions.shared.tokens.known_tokens import KnownTokens
from functions.shared.tokens.known_tokens_parts import build_known_formats
from functions.shared.tokens.opaque_tokens import DynamoDbOpaqueTokens
from functions.shared.web import paths
from functions.shared.web.endpoint import Endpoint

if TYPE_CHECKING:
    from functions.shared.runtime.clock import Clock
    from functions.shared.web.audit_log import Emit


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The issuer, three tables by name, and three secrets by name or ARN.

    `remote_keys` is "loopback" where JWK Sets of clients and issuers may be on this machine.
    `mtls_base_url` is the server's base URL with mutual TLS, empty without one.
    """

    issuer: str
    clients_table: str
    tokens_table: str
    state_table: str
    key_ring_secret: str
    signing_keys_secret: str
    dpop_nonce_secret: str
    remote_keys: str = ""
    mtls_base_url: str = ""


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
    mtls_base_url = settings.mtls_base_url.rstrip("/")
    signers = RingSigners(key_ring, secrets, settings.signing_keys_secret, lambda: aws.kms, meter)
    opaque_tokens = DynamoDbOpaqueTokens(aws.dynamodb, settings.tokens_table)
    formats = build_known_formats(settings, key_ring=key_ring, aws=aws, clock=clock)
    endpoint = TokenEndpoint(
        authentication=build_client_authentication(
            issuer=settings.issuer,
            state_table=settings.state_table,
            remote_keys=settings.remote_keys,
            registry=clients,
            aws=aws,
            clock=clock,
        ),
        possession=PossessionCheck(
            settings.issuer + paths.TOKEN,
            DpopNonces(secrets, settings.dpop_nonce_secret, clock),
            DynamoDbOneTimeUse(aws.dynamodb, settings.state_table),
            mtls_base_url + paths.TOKEN if mtls_base_url else "",
        ),
        grants=GrantDecisions(
            {
                CLIENT_CREDENTIALS: grant_client_credentials,
                TOKEN_EXCHANGE: TokenExchange(KnownTokens(formats, clients)),
            }
        ),
        mints={
            TokenFormat.JWT: JwtMint(settings.issuer, signers),
            TokenFormat.OPAQUE: OpaqueMint(settings.issuer, opaque_tokens),
        },
        clock=clock,
    )
    return Endpoint("issue_token", endpoint, emit, ("POST",), meter)


handle = LambdaHandler(
    lambda: build(
        Settings.from_env(os.environ),
        clock=SYSTEM_CLOCK,
        aws=AwsClients(),
        meter=Meter.from_env(os.environ),
    )
)
