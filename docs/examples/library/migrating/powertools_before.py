"""Verification with Powertools for AWS Lambda, before the migration."""

import json
import os
from urllib.request import urlopen

from aws_lambda_powertools.utilities.auth_alpha import JWTVerifier

ISSUER = os.environ["ISSUER"]
keys = json.load(urlopen(f"{ISSUER}/oauth2/jwks"))
verifier = JWTVerifier(issuer=ISSUER, audience="https://orders.example", algorithms=["RS256"], jwks=keys)


def claims_of(token):
    return verifier.verify(token)
