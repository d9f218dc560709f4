"""GET /.well-known/oauth-authorization-server, /.well-known/openid-configuration and /oauth2/authorize.

The metadata of RFC 8414, with the members of OpenID Connect Discovery 1.0 that apply. The
authorization endpoint answers every request with an error: clients require its address only.
"""

import json
import os
from dataclasses import dataclass

from authorizer.jws import PROOF_ALGORITHMS
from authorizer.metrics import Meter

from ..shared.clients.supported import (
    ASSERTION_ALGORITHMS,
    DEFAULT_SIGNING_ALGORITHM,
    GRANT_PROFILES,
    GRANT_TYPES,
    REGISTERED_METHODS,
)
from ..shared.lambda_function import EnvironmentSettings, LambdaHandler
from ..shared.web.audit import AuditEntry, Emit
from ..shared.web.endpoint import (
    AUTHORIZATION_PATH,
    INTROSPECTION_PATH,
    JWKS_PATH,
    METHODS,
    NO_STORE,
    REVOCATION_PATH,
    TOKEN_PATH,
    Endpoint,
    ProxyResponse,
    cacheable_response,
    response,
)
from ..shared.web.oauth_errors import MethodNotAllowedError, UnsupportedResponseTypeError
from ..shared.web.proxy_request import ProxyRequest

MAX_AGE = 3600
"""Cache lifetime in seconds. The members change only with the deployment's parameters."""


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The issuer. Empty where the server has none: its base URL with mutual TLS, its authorization endpoint."""

    issuer: str
    mtls_base_url: str = ""
    authorization_endpoint: str = ""


def document(issuer: str, mtls_base_url: str = "", authorization_endpoint: str = "") -> dict[str, object]:
    """Return the metadata of the server with this issuer."""
    methods, algorithms = list(REGISTERED_METHODS), list(ASSERTION_ALGORITHMS)
    members: dict[str, object] = {
        "issuer": issuer,
        "token_endpoint": issuer + TOKEN_PATH,
        "jwks_uri": issuer + JWKS_PATH,
        "introspection_endpoint": issuer + INTROSPECTION_PATH,
        "revocation_endpoint": issuer + REVOCATION_PATH,
        "grant_types_supported": list(GRANT_TYPES),
        "authorization_grant_profiles_supported": list(GRANT_PROFILES),
        # The authorization endpoint supports no response type. RFC 8414, 2, requires the member,
        # and readers like Nimbus, which Spring uses, insist on it; 3.2 and erratum 7793 would omit
        # it. "none" is not an alternative: it is a response type.
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
    if authorization_endpoint:
        members["authorization_endpoint"] = authorization_endpoint
    if mtls_base_url:
        members["mtls_endpoint_aliases"] = {  # RFC 8705, 5
            "token_endpoint": mtls_base_url + TOKEN_PATH,
            "introspection_endpoint": mtls_base_url + INTROSPECTION_PATH,
            "revocation_endpoint": mtls_base_url + REVOCATION_PATH,
        }
    return members


_ERROR = UnsupportedResponseTypeError
_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{_ERROR.code}</title>
<h1>{_ERROR.code}</h1>
<p>{_ERROR.default_description}</p>
</html>
"""


def build(settings: Settings, *, emit: Emit = print, meter: Meter | None = None) -> Endpoint:
    """Compose the endpoint. It needs neither a clock nor AWS."""
    members = document(settings.issuer, settings.mtls_base_url.rstrip("/"), settings.authorization_endpoint)
    body = json.dumps(members)

    def respond(request: ProxyRequest, audit: AuditEntry) -> ProxyResponse:
        is_authorization = request.path.endswith(AUTHORIZATION_PATH)
        # RFC 9700, 2.6: an authorization endpoint does not support CORS.
        allowed = ("GET", "HEAD") if is_authorization else METHODS
        if request.method not in allowed:
            raise MethodNotAllowedError(allowed)
        return refuse_authorization(request, audit) if is_authorization else cacheable_response(request, body, MAX_AGE)

    return Endpoint("publish_metadata", respond, emit, meter=meter or Meter())


def refuse_authorization(request: ProxyRequest, audit: AuditEntry) -> ProxyResponse:
    """Return a page with the error, which reads no parameter and never redirects. RFC 6749, 4.1.2.1.

    Raises:
        UnsupportedResponseTypeError: the caller accepts JSON.
    """
    if request.accepts("application/json"):
        raise _ERROR
    audit.note(outcome=_ERROR.code, reason=_ERROR.default_description)
    return response(_ERROR.status, _PAGE, {"Content-Type": "text/html; charset=utf-8", **NO_STORE, **_ERROR.headers})


handle = LambdaHandler(lambda: build(Settings.from_env(os.environ), meter=Meter.from_env(os.environ)))
