"""POST /oauth2/token."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from authorizer.aws import Aws
from authorizer.metrics import Meter

from ..shared.authentication.client_authentication import build_client_authentication
from ..shared.clients.client import TokenFormat
from ..shared.clients.client_registry import CachedClients, DynamoDbClients
from ..shared.clients.supported import CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from ..shared.keys.key_ring import CachedKeyRing
from ..shared.keys.signers import RingSigners
from ..shared.lambda_function import SYSTEM_CLOCK, Clock, EnvironmentSettings, LambdaHandler, on_first_use
from ..shared.storage.aws import make_aws
from ..shared.storage.secrets_manager import SecretStore
from ..shared.storage.state_table import OneTimeUse
from ..shared.web.audit import Emit
from ..shared.web.endpoint import TOKEN_PATH, Endpoint
from .grants import Grant, GrantDecisions, TokenRequest, grant_client_credentials
from .minting import JwtMint, MintedToken, Validity
from .proof_of_possession import DpopNonces, PossessionCheck
from .token_endpoint import TokenEndpoint


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


def build(settings: Settings, *, clock: Clock, aws: Aws, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint."""
    meter = meter or Meter(clock=clock)
    clients = CachedClients(DynamoDbClients(aws, settings.clients_table), clock)
    secrets = SecretStore(aws)
    key_ring = CachedKeyRing(secrets, settings.key_ring_secret, clock)
    mtls_base_url = settings.mtls_base_url.rstrip("/")
    signers = RingSigners(key_ring, secrets, settings.signing_keys_secret, aws, meter)

    # Most requests need neither of these, and a cold start without them is faster.
    @on_first_use
    def exchange() -> Callable[[TokenRequest], Grant]:
        from ..shared.tokens.token_lookup import TokenLookup, build_token_stores
        from .token_exchange import TokenExchange

        stores = build_token_stores(
            issuer=settings.issuer,
            tokens_table=settings.tokens_table,
            state_table=settings.state_table,
            key_ring=key_ring,
            aws=aws,
            clock=clock,
        )
        return TokenExchange(TokenLookup(stores, clients))

    @on_first_use
    def mint_opaque() -> Callable[[Grant, Validity], MintedToken]:
        from ..shared.tokens.opaque_tokens import OpaqueTokenStore
        from .opaque_minting import OpaqueMint

        return OpaqueMint(settings.issuer, OpaqueTokenStore(aws, settings.tokens_table)).mint

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
            settings.issuer + TOKEN_PATH,
            DpopNonces(secrets, settings.dpop_nonce_secret, clock),
            OneTimeUse(aws, settings.state_table),
            mtls_base_url + TOKEN_PATH if mtls_base_url else "",
        ),
        grants=GrantDecisions({CLIENT_CREDENTIALS: grant_client_credentials, TOKEN_EXCHANGE: exchange}),
        mints={TokenFormat.JWT: JwtMint(settings.issuer, signers).mint, TokenFormat.OPAQUE: mint_opaque},
        clock=clock,
    )
    return Endpoint("issue_token", endpoint, emit, ("POST",), meter)


handle = LambdaHandler(
    lambda: build(Settings.from_env(os.environ), clock=SYSTEM_CLOCK, aws=make_aws(), meter=Meter.from_env(os.environ))
)
