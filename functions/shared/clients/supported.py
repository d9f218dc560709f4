"""Supported authentication methods, grant types and algorithms.

Metadata lists them, and clients are validated by them. This module imports little, so the function that publishes
metadata loads neither cryptography nor storage.
"""

from authorizer.jws import ALGORITHMS

DEFAULT_SIGNING_ALGORITHM = "RS256"
SIGNING_ALGORITHMS = (
    *("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA"),
    *("ML-DSA-44", "ML-DSA-65", "ML-DSA-87"),
)
"""Algorithms of key rings and of clients. `EdDSA` is the older name of Ed25519; keys and clients may have either."""

CLIENT_SECRET_BASIC = "client_secret_basic"
CLIENT_SECRET_POST = "client_secret_post"
PRIVATE_KEY_JWT = "private_key_jwt"
TLS_CLIENT_AUTH = "tls_client_auth"
SELF_SIGNED_TLS_CLIENT_AUTH = "self_signed_tls_client_auth"
SPIFFE_JWT = "spiffe_jwt"
SPIFFE_X509 = "spiffe_x509"
SPIFFE = "spiffe://"
SVID_ALGORITHMS = frozenset(f"{family}{bits}" for family in ("RS", "ES", "PS") for bits in (256, 384, 512))
"""Signature algorithms of JWT-SVIDs. JWT-SVID, 2.1."""

FEDERATED_JWT = "federated_jwt"
"""Gatehouse's name for a JWT of another issuer as client_assertion. It is not registered."""

REGISTERED_METHODS = (
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    PRIVATE_KEY_JWT,
    TLS_CLIENT_AUTH,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    SPIFFE_JWT,
    SPIFFE_X509,
)
"""Values of `token_endpoint_auth_methods_supported`.

RFC 7591, 2; RFC 8705, 2; draft-ietf-oauth-spiffe-client-auth-02, 4.
"""

METHODS = frozenset({*REGISTERED_METHODS, FEDERATED_JWT})

ASSERTION_ALGORITHMS = tuple(sorted(ALGORITHMS))
"""Values of `token_endpoint_auth_signing_alg_values_supported`, all asymmetric."""

CLIENT_CREDENTIALS = "client_credentials"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GRANT_TYPES = (CLIENT_CREDENTIALS, TOKEN_EXCHANGE, JWT_BEARER)

GRANT_PROFILES = ("urn:ietf:params:oauth:grant-profile:id-jag",)
"""Values of `authorization_grant_profiles_supported`. draft-ietf-oauth-identity-assertion-authz-grant, 6.2."""
