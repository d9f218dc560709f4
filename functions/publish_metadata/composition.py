"""The one place that knows which real parts make publish_metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authorizer.metrics import Meter
from functions.publish_metadata.document import MetadataPublisher, document, endpoint_aliases
from functions.shared.clients.authentication_methods import ASSERTION_ALGORITHMS, REGISTERED_METHODS
from functions.shared.web.endpoint import Endpoint
from functions.shared.web.public_document import METHODS

if TYPE_CHECKING:
    from functions.publish_metadata.settings import Settings
    from functions.shared.web.audit_log import Emit


def build(settings: Settings, *, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint. It needs no clock and no service."""
    members = document(settings.issuer, REGISTERED_METHODS, ASSERTION_ALGORITHMS)
    if settings.mtls_base_url:
        members["mtls_endpoint_aliases"] = endpoint_aliases(settings.mtls_base_url.rstrip("/"))
    publisher = MetadataPublisher(members)
    return Endpoint("publish_metadata", publisher, emit, METHODS, meter or Meter())
