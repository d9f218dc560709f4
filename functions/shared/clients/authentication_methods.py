"""The names of the client authentication methods and of the algorithms for assertions.

The one place that says what is supported: metadata is written from it, clients are checked by it.
"""

from __future__ import annotations

from typing import Final

from authorizer.jwk import ALGORITHMS

CLIENT_SECRET_BASIC: Final = "client_secret_basic"
CLIENT_SECRET_POST: Final = "client_secret_post"
PRIVATE_KEY_JWT: Final = "private_key_jwt"
TLS_CLIENT_AUTH: Final = "tls_client_auth"
SELF_SIGNED_TLS_CLIENT_AUTH: Final = "self_signed_tls_client_auth"
FEDERATED_JWT: Final = "federated_jwt"
"""Our own name for a JWT of another issuer as client_assertion: no registry has one."""

REGISTERED_METHODS: Final = (
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    PRIVATE_KEY_JWT,
    TLS_CLIENT_AUTH,
    SELF_SIGNED_TLS_CLIENT_AUTH,
)
"""What `token_endpoint_auth_methods_supported` may hold. RFC 7591, 2, and RFC 8705, 2."""

METHODS: Final = frozenset({*REGISTERED_METHODS, FEDERATED_JWT})

ASSERTION_ALGORITHMS: Final = tuple(sorted(ALGORITHMS))
"""What `token_endpoint_auth_signing_alg_values_supported` holds. All of them asymmetric."""
