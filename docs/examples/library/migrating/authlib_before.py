"""Verification with Authlib, before the migration."""

import json
import os
from urllib.request import urlopen

from authlib.jose import JsonWebToken

ISSUER = os.environ["ISSUER"]
keys = json.load(urlopen(f"{ISSUER}/oauth2/jwks"))
options = {"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": "https://orders.example"}}


def claims_of(token):
    claims = JsonWebToken(["RS256"]).decode(token, keys, claims_options=options)
    claims.validate()
    return claims
