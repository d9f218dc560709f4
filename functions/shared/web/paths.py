"""The endpoints' paths below the issuer, as template.yaml routes them."""

from typing import Final

TOKEN: Final = "/oauth2/token"
JWKS: Final = "/oauth2/jwks"
INTROSPECTION: Final = "/oauth2/introspect"
REVOCATION: Final = "/oauth2/revoke"
