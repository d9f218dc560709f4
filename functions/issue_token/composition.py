"""The one place that knows which real parts make issue_token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functions.issue_token.issuance import TokenIssuance
from functions.issue_token.minting import JwtMint, OpaqueMint
from functions.issue_token.signers import LocalSigners
from functions.shared.client_authentication import ClientAuthentication, secret_methods
from functions.shared.client_record import TokenFormat
from functions.shared.client_registry import DynamoDbClients, WarmClients
from functions.shared.endpoint import Endpoint
from functions.shared.opaque_tokens import DynamoDbOpaqueTokens
from functions.shared.secret_store import SecretsManagerStore
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
    signers = LocalSigners(key_ring, secrets, settings.signing_keys_secret)
    tokens = DynamoDbOpaqueTokens(aws.dynamodb, settings.tokens_table)
    issuance = TokenIssuance(
        authentication=ClientAuthentication(clients, secret_methods(), clock),
        mints={
            TokenFormat.JWT: JwtMint(settings.issuer, signers),
            TokenFormat.OPAQUE: OpaqueMint(settings.issuer, tokens),
        },
        clock=clock,
    )
    return Endpoint("issue_token", issuance, emit)
