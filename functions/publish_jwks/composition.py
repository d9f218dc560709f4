"""The one place that knows which real parts make publish_jwks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authorizer.metrics import Meter
from functions.publish_jwks.key_set import KeySetPublisher
from functions.shared.keys.warm_key_ring import WarmKeyRing
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.web.endpoint import Endpoint
from functions.shared.web.public_document import METHODS

if TYPE_CHECKING:
    from functions.publish_jwks.settings import Settings
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
    secrets = SecretsManagerStore(aws.secrets_manager)
    key_ring = WarmKeyRing(secrets, settings.key_ring_secret, clock)
    return Endpoint("publish_jwks", KeySetPublisher(key_ring, clock), emit, METHODS, meter)
