"""The one place that knows which real parts make introspect_token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authorizer.metrics import Meter
from functions.introspect_token.introspection import TokenIntrospection
from functions.introspect_token.signed_answer import AnswerSigner
from functions.shared.authentication.client_authentication_parts import build_client_authentication
from functions.shared.clients.client_registry import DynamoDbClients, WarmClients
from functions.shared.keys.signers import RingSigners
from functions.shared.keys.warm_key_ring import WarmKeyRing
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.tokens.known_tokens import KnownTokens
from functions.shared.tokens.known_tokens_parts import build_known_formats
from functions.shared.web.endpoint import Endpoint

if TYPE_CHECKING:
    from functions.introspect_token.settings import Settings
    from functions.shared.runtime.aws_clients import AwsClients
    from functions.shared.runtime.clock import Clock
    from functions.shared.web.audit_log import Emit


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
    clients = WarmClients(DynamoDbClients(aws.dynamodb, settings.clients_table), clock)
    secrets = SecretsManagerStore(aws.secrets_manager)
    key_ring = WarmKeyRing(secrets, settings.key_ring_secret, clock)
    formats = build_known_formats(settings, key_ring=key_ring, aws=aws, clock=clock)
    signers = RingSigners(key_ring, secrets, settings.signing_keys_secret, lambda: aws.kms, meter)
    introspection = TokenIntrospection(
        authentication=build_client_authentication(
            settings, registry=clients, aws=aws, clock=clock
        ),
        tokens=KnownTokens(formats, clients),
        signer=AnswerSigner(settings.issuer, signers),
        clock=clock,
    )
    return Endpoint("introspect_token", introspection, emit, ("POST",), meter)
