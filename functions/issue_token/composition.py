"""The one place that knows which real parts make issue_token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functions.issue_token.exchange import TokenExchange
from functions.issue_token.grants import GrantDecisions, grant_client_credentials
from functions.issue_token.issuance import TokenIssuance
from functions.issue_token.minting import JwtMint, OpaqueMint
from functions.issue_token.nonces import DpopNonces
from functions.issue_token.possession import PossessionProofs
from functions.shared import paths
from functions.shared.client_authentication_parts import build_client_authentication
from functions.shared.client_record import TokenFormat
from functions.shared.client_registry import DynamoDbClients, WarmClients
from functions.shared.deny_list import DynamoDbDenyList
from functions.shared.endpoint import Endpoint
from functions.shared.grant_types import CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from functions.shared.issued_jwts import IssuedJwts
from functions.shared.known_tokens import Jwts, KnownTokens, OpaqueTokens
from functions.shared.one_time_use import DynamoDbOneTimeUse
from functions.shared.opaque_tokens import DynamoDbOpaqueTokens
from functions.shared.secret_store import SecretsManagerStore
from functions.shared.signers import RingSigners
from functions.shared.warm_key_ring import WarmKeyRing

if TYPE_CHECKING:
    from functions.issue_token.settings import Settings
    from functions.shared.audit_log import Emit
    from functions.shared.aws_clients import AwsClients
    from functions.shared.clock import Clock


def build(settings: Settings, *, clock: Clock, aws: AwsClients, emit: Emit = print) -> Endpoint:
    """Compose the endpoint."""
    clients = WarmClients(DynamoDbClients(aws.dynamodb, settings.clients_table), clock)
    secrets = SecretsManagerStore(aws.secrets_manager)
    key_ring = WarmKeyRing(secrets, settings.key_ring_secret, clock)
    signers = RingSigners(key_ring, secrets, settings.signing_keys_secret, kms=lambda: aws.kms)
    opaque_tokens = DynamoDbOpaqueTokens(aws.dynamodb, settings.tokens_table)
    jwts = Jwts(
        IssuedJwts(settings.issuer, key_ring, clock),
        DynamoDbDenyList(aws.dynamodb, settings.state_table),
    )
    issuance = TokenIssuance(
        authentication=build_client_authentication(
            settings, registry=clients, aws=aws, clock=clock
        ),
        proofs=PossessionProofs(
            settings.issuer + paths.TOKEN,
            DpopNonces(secrets, settings.dpop_nonce_secret, clock),
            DynamoDbOneTimeUse(aws.dynamodb, settings.state_table),
        ),
        grants=GrantDecisions(
            {
                CLIENT_CREDENTIALS: grant_client_credentials,
                TOKEN_EXCHANGE: TokenExchange(
                    KnownTokens((OpaqueTokens(opaque_tokens), jwts), clients)
                ),
            }
        ),
        mints={
            TokenFormat.JWT: JwtMint(settings.issuer, signers),
            TokenFormat.OPAQUE: OpaqueMint(settings.issuer, opaque_tokens),
        },
        clock=clock,
    )
    return Endpoint("issue_token", issuance, emit, methods=("POST",))
