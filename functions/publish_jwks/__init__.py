"""GET /oauth2/jwks: the public keys that verify our tokens."""
