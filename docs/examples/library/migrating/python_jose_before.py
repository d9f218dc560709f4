"""Verification with python-jose, before the migration."""

import json
import os
from urllib.request import urlopen

from jose import jwt

ISSUER = os.environ["ISSUER"]
keys = json.load(urlopen(f"{ISSUER}/oauth2/jwks"))


def claims_of(token):
    return jwt.decode(token, keys, algorithms=["RS256"], audience="https://orders.example", issuer=ISSUER)
