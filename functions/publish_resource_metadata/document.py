"""The metadata document of a protected resource. RFC 9728, 2."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from authorizer.jwk import PROOF_ALGORITHMS
from functions.shared.web import public_document
from functions.shared.web.oauth_errors import ServerError

if TYPE_CHECKING:
    from functions.publish_resource_metadata.settings import Settings
    from functions.shared.web.audit_log import AuditEntry
    from functions.shared.web.proxy_request import ProxyRequest
    from functions.shared.web.responses import ProxyResponse

MAX_AGE: Final = 3600
"""Seconds for which anyone may keep the document."""

_DEFAULT_STAGE: Final = "$default"
"""The stage of an HTTP API that is not part of its address."""

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class MetadataPublisher:
    """Answers with the same document at every one of its addresses."""

    settings: Settings

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:  # noqa: ARG002 - an Endpoint's
        """Return the document; 304 to a caller that has it."""
        resource = self.settings.resource.rstrip("/") or stage_address(request)
        members = document(resource, self.settings)
        return public_document.answer(request, json.dumps(members), MAX_AGE)


def document(resource: str, settings: Settings) -> dict[str, object]:
    """Describe the API at this address."""
    methods = settings.proof_of_possession.split(",")
    members: dict[str, object] = {
        "resource": resource,
        "authorization_servers": [settings.issuer],
        "scopes_supported": scopes_supported(),
        "bearer_methods_supported": ["header"],
    }
    if "dpop" in methods:
        members["dpop_signing_alg_values_supported"] = sorted(PROOF_ALGORITHMS)
    if "mtls" in methods:
        members["tls_client_certificate_bound_access_tokens"] = True
    return members


def scopes_supported() -> list[str]:
    """Return the scopes of the authorizer's own map, so that the two never differ."""
    scope_map = json.loads(files("authorizer").joinpath("scopes.json").read_text(encoding="utf-8"))
    return sorted({scope for key in scope_map for scope in key.split(" ")})


def stage_address(request: ProxyRequest) -> str:
    """Return the address of the stage that a request came through.

    A reader compares it with the address it asked (RFC 9728, 3.3), so nobody is misled by it.

    Raises:
        ServerError: the event names no domain. Events of load balancers do not.
    """
    if not request.domain_name:
        raise ServerError(reason="no domain name in the event: set RESOURCE")
    scheme = request.header("x-forwarded-proto") or "https"
    port = request.header("x-forwarded-port") or _DEFAULT_PORTS.get(scheme)
    authority = request.domain_name
    if port != _DEFAULT_PORTS.get(scheme):
        authority = f"{authority}:{port}"
    path = "" if request.stage in ("", _DEFAULT_STAGE) else f"/{request.stage}"
    return f"{scheme}://{authority}{path}"
