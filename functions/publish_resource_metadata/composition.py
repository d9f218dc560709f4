"""The one place that knows which real parts make publish_resource_metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authorizer.metrics import Meter
from functions.publish_resource_metadata.document import MetadataPublisher
from functions.shared.web.endpoint import Endpoint
from functions.shared.web.public_document import METHODS

if TYPE_CHECKING:
    from functions.publish_resource_metadata.settings import Settings
    from functions.shared.web.audit_log import Emit


def build(settings: Settings, *, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint. It needs no clock and no service."""
    return Endpoint(
        "publish_resource_metadata", MetadataPublisher(settings), emit, METHODS, meter or Meter()
    )
