"""GET /.well-known/oauth-authorization-server and GET /.well-known/openid-configuration.

RFC 8414, and the members of OpenID Connect Discovery 1.0 that apply.
"""

import json
import os
from dataclasses import dataclass

from authorizer.jws import PROOF_ALGORITHMS
from authorizer.metrics import Meter

from ..shared.clients.supported import ASSERTION_ALGORITHMS, DEFAULT_SIGNING_ALGORITHM, GRANT_TYPES, REGISTERED_METHODS
from ..shared.lambda_function import EnvironmentSettings, LambdaHandler
from ..shared.web.audit import AuditEntry, Emit
from ..shared.web.endpoint import (
    INTROSPECTION_PATH,
    JWKS_PATH,
    METHODS,
    REVOCATION_PATH,
    TOKEN_PATH,
    Endpoint,
    cacheable_response,
)
from ..shared.web.proxy_request import ProxyRequest
from ..shared.web.proxy_response import ProxyResponse

MAX_AGE = 3600
"""Cache lifetime in seconds. The members change only with the deployment's parameters."""


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The issuer, and the server's base URL with mutual TLS, empty without one."""

    issuer: str
    mtls_base_url: str = ""


def document(issuer: str, mtls_base_url: str = "") -> dict[str, object]:
    """Return the metadata of the server with this issuer."""
    methods, algorithms = list(REGISTERED_METHODS), list(ASSERTION_ALGORITHMS)
    members: dict[str, object] = {
        "issuer": issuer,
        "token_endpoint": issuer + TOKEN_PATH,
        "jwks_uri": issuer + JWKS_PATH,
        "introspection_endpoint": issuer + INTROSPECTION_PATH,
        "revocation_endpoint": issuer + REVOCATION_PATH,
        "grant_types_supported": list(GRANT_TYPES),
        # There is no authorization endpoint and therefore no response type. RFC 8414, 2, requires
        # the member, and readers like Nimbus, which Spring uses, insist on it; 3.2 and erratum 7793
        # would omit it. "none" is not an alternative: it is a response type.
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_signing_alg_values_supported": [DEFAULT_SIGNING_ALGORITHM],
        "dpop_signing_alg_values_supported": sorted(PROOF_ALGORITHMS),
        "tls_client_certificate_bound_access_tokens": True,
        # OpenID Connect Discovery requires these two, and verifiers that discover keys by it insist
        # on them. The server issues no ID tokens; an ID token would have these values.
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [DEFAULT_SIGNING_ALGORITHM],
    }
    if mtls_base_url:
        members["mtls_endpoint_aliases"] = {  # RFC 8705, 5
            "token_endpoint": mtls_base_url + TOKEN_PATH,
            "introspection_endpoint": mtls_base_url + INTROSPECTION_PATH,
            "revocation_endpoint": mtls_base_url + REVOCATION_PATH,
        }
    return members


def build(settings: Settings, *, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint. It needs neither a clock nor AWS."""
    body = json.dumps(document(settings.issuer, settings.mtls_base_url.rstrip("/")))

    def respond(request: ProxyRequest, audit: AuditEntry) -> ProxyResponse:
        return cacheable_response(request, body, MAX_AGE)

    return Endpoint("publish_metadata", respond, emit, METHODS, meter or Meter())


handle = LambdaHandler(lambda: build(Settings.from_env(os.environ), meter=Meter.from_env(os.environ)))
