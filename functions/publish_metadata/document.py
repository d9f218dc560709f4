"""The metadata document. RFC 8414, and OpenID Connect Discovery 1.0 as far as it is true of us."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authorizer.jwk import PROOF_ALGORITHMS
from functions.shared.clients.client_record import DEFAULT_SIGNING_ALGORITHM
from functions.shared.clients.grant_types import GRANT_TYPES
from functions.shared.web import paths, public_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functions.shared.web.audit_log import AuditEntry
    from functions.shared.web.proxy_request import ProxyRequest
    from functions.shared.web.responses import ProxyResponse

MAX_AGE: Final = 3600
"""Seconds for which anyone may keep the document. Its addresses change with the issuer alone."""


@dataclass(frozen=True, slots=True)
class MetadataPublisher:
    """Answers with the same document at every one of its addresses."""

    members: Mapping[str, object]

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:  # noqa: ARG002 - an Endpoint's
        """Return the document; 304 to a caller that has it."""
        return public_document.answer(request, json.dumps(self.members), MAX_AGE)


def document(
    issuer: str, authentication_methods: Sequence[str], assertion_algorithms: Sequence[str]
) -> dict[str, object]:
    """Describe the server with this issuer."""
    methods, algorithms = list(authentication_methods), list(assertion_algorithms)
    return {
        "issuer": issuer,
        "token_endpoint": issuer + paths.TOKEN,
        "jwks_uri": issuer + paths.JWKS,
        "introspection_endpoint": issuer + paths.INTROSPECTION,
        "revocation_endpoint": issuer + paths.REVOCATION,
        "grant_types_supported": list(GRANT_TYPES),
        # Types of response are an authorization endpoint's, and there is none. RFC 8414, 2, wants
        # the member all the same; 3.2 would leave it out, and so would erratum 7793; but readers
        # like Nimbus, which Spring reads with, insist on it. "none" would be no way out: it is a
        # type of response, too.
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
        # OpenID's discovery requires the two, and verifiers that look for keys there insist on
        # them. We issue no ID tokens; these are what one would be.
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [DEFAULT_SIGNING_ALGORITHM],
    }


def endpoint_aliases(base_url: str) -> dict[str, str]:
    """Return where the endpoints that authenticate clients are behind mutual TLS. RFC 8705, 5."""
    return {
        "token_endpoint": base_url + paths.TOKEN,
        "introspection_endpoint": base_url + paths.INTROSPECTION,
        "revocation_endpoint": base_url + paths.REVOCATION,
    }
