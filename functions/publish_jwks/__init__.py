"""GET /oauth2/jwks: the public keys that verify the issuer's tokens."""
