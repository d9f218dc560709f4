"""The one place that knows which real parts make publish_jwks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functions.publish_jwks.key_set import KeySetPublisher
from functions.shared.endpoint import Endpoint
from functions.shared.public_document import METHODS
from functions.shared.secret_store import SecretsManagerStore
from functions.shared.warm_key_ring import WarmKeyRing

if TYPE_CHECKING:
    from functions.publish_jwks.settings import Settings
    from functions.shared.audit_log import Emit
    from functions.shared.aws_clients import AwsClients
    from functions.shared.clock import Clock


def build(settings: Settings, *, clock: Clock, aws: AwsClients, emit: Emit = print) -> Endpoint:
    """Compose the endpoint."""
    secrets = SecretsManagerStore(aws.secrets_manager)
    key_ring = WarmKeyRing(secrets, settings.key_ring_secret, clock)
    return Endpoint("publish_jwks", KeySetPublisher(key_ring, clock), emit, METHODS)
