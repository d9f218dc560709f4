"""GET /.well-known/oauth-protected-resource of the guarded API. RFC 9728."""

import json
import os
from dataclasses import dataclass
from importlib.resources import files

from authorizer.jws import PROOF_ALGORITHMS
from authorizer.metrics import Meter

from ..shared.lambda_function import EnvironmentSettings, LambdaHandler
from ..shared.web.audit import AuditEntry, Emit
from ..shared.web.endpoint import METHODS, Endpoint, ProxyResponse, cacheable_response
from ..shared.web.oauth_errors import ServerError
from ..shared.web.proxy_request import ProxyRequest

MAX_AGE = 3600
"""Cache lifetime in seconds."""

_DEFAULT_STAGE = "$default"
"""The stage of an HTTP API that is not part of its URL."""

_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The issuer, and two settings of the authorizer.

    `resource` is the URL of the guarded API, empty if it is the URL of its stage.
    `proof_of_possession` is a list of `dpop` and `mtls`, separated by commas.
    """

    issuer: str
    resource: str = ""
    proof_of_possession: str = ""


def document(resource: str, settings: Settings) -> dict[str, object]:
    """Return the metadata of the API at this URL. RFC 9728, 2."""
    methods = settings.proof_of_possession.split(",")
    scope_map = json.loads(files("authorizer").joinpath("scopes.json").read_text(encoding="utf-8"))
    members: dict[str, object] = {
        "resource": resource,
        "authorization_servers": [settings.issuer],
        # The scopes of the authorizer's scope map, so that the two agree.
        "scopes_supported": sorted({scope for key in scope_map for scope in key.split(" ")}),
        "bearer_methods_supported": ["header"],
    }
    if "dpop" in methods:
        members["dpop_signing_alg_values_supported"] = sorted(PROOF_ALGORITHMS)
    if "mtls" in methods:
        members["tls_client_certificate_bound_access_tokens"] = True
    return members


def stage_url(request: ProxyRequest) -> str:
    """Return the URL of the stage that a request came through.

    A client compares it with the URL of its request (RFC 9728, 3.3).

    Raises:
        ServerError: the event has no domain name. Events of load balancers do not have one.
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


def build(settings: Settings, *, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint. It needs neither a clock nor AWS."""

    def respond(request: ProxyRequest, audit: AuditEntry) -> ProxyResponse:
        resource = settings.resource.rstrip("/") or stage_url(request)
        return cacheable_response(request, json.dumps(document(resource, settings)), MAX_AGE)

    return Endpoint("publish_resource_metadata", respond, emit, METHODS, meter or Meter())


handle = LambdaHandler(lambda: build(Settings.from_env(os.environ), meter=Meter.from_env(os.environ)))
