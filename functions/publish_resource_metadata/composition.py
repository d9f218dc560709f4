"""The one place that knows which real parts make publish_resource_metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from functions.publish_resource_metadata.document import MetadataPublisher, document, stage_address
from functions.shared.endpoint import Endpoint
from functions.shared.public_document import METHODS
from functions.shared.responses import ProxyResponse

if TYPE_CHECKING:
    from functions.publish_resource_metadata.settings import Settings
    from functions.shared.audit_log import Emit

AnswerEvent = Callable[[Mapping[str, Any]], ProxyResponse]


def build(settings: Settings, *, emit: Emit = print) -> AnswerEvent:
    """Compose the endpoint. It needs no clock and no service."""

    def answer(event: Mapping[str, Any]) -> ProxyResponse:
        resource = settings.resource.rstrip("/") or stage_address(event)
        publisher = MetadataPublisher(document(resource, settings))
        return Endpoint("publish_resource_metadata", publisher, emit, METHODS)(event)

    return answer
