"""GET /oauth2/jwks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from functions.publish_jwks.key_set import KeySetPublisher
from functions.publish_jwks.settings import Settings
from functions.shared.aws_clients import AwsClients
from functions.shared.clock import SYSTEM_CLOCK, Clock
from functions.shared.endpoint import Endpoint
from functions.shared.secret_store import SecretsManagerStore
from functions.shared.warm_instance import WarmInstance
from functions.shared.warm_key_ring import WarmKeyRing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.shared.audit_log import Emit
    from functions.shared.responses import ProxyResponse


def build(settings: Settings, *, clock: Clock, aws: AwsClients, emit: Emit = print) -> Endpoint:
    """Compose the endpoint."""
    secrets = SecretsManagerStore(aws.secrets_manager)
    key_ring = WarmKeyRing(secrets, settings.key_ring_secret, clock)
    return Endpoint("publish_jwks", KeySetPublisher(key_ring, clock), emit)


_warm = WarmInstance(
    lambda: build(Settings.from_env(os.environ), clock=SYSTEM_CLOCK, aws=AwsClients())
)


def handle(event: Mapping[str, Any], context: object) -> ProxyResponse:  # noqa: ARG001
    """Answer one proxy event."""
    return _warm()(event)
