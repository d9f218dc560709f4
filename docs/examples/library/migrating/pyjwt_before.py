"""Verification with PyJWT, before the migration."""

import os

import jwt

ISSUER = os.environ["ISSUER"]
keys = jwt.PyJWKClient(f"{ISSUER}/oauth2/jwks")


def claims_of(token):
    key = keys.get_signing_key_from_jwt(token)
    return jwt.decode(token, key, algorithms=["RS256"], audience="https://orders.example", issuer=ISSUER)
