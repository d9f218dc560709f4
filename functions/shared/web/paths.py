"""The endpoints' paths below the issuer, as template.yaml routes them."""

TOKEN = "/oauth2/token"
JWKS = "/oauth2/jwks"
INTROSPECTION = "/oauth2/introspect"
REVOCATION = "/oauth2/revoke"
