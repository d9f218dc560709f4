"""Valid tokens of each profile, and invalid ones with a single fault each."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from functions.shared.keys import signing_keys
from infra.local_stack import secret_name
from local.demo_clients import CUSTOMER_API
from tests.support.laptop import Laptop, aws_client

CLIENTS = {"plain": "service-client-jwt", "at-jwt": "service-client-api", "opaque": "service-client-opaque"}
"""The client of each route's tokens."""
SECONDS = 30


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT and the private key of its `kid`."""

    text: str
    private_pem: str

    @property
    def header(self) -> dict[str, Any]:
        """The header."""
        return jwt.get_unverified_header(self.text)

    def signed_again(self, key: Any = None, alg: str = "RS256", header: Any = None, **claims: Any) -> str:
        """Return the token with other claims or another key."""
        members = jwt.decode(self.text, options={"verify_signature": False}) | claims
        headers = {"kid": self.header["kid"], "typ": self.header.get("typ", "JWT")} | (header or {})
        return jwt.encode(members, "" if alg == "none" else key or self.private_pem, alg, headers)

    def invalid(self) -> Mapping[str, str]:
        """Return a token for each fault."""
        now = int(time.time())
        issuer = jwt.decode(self.text, options={"verify_signature": False})["iss"]
        return {
            "expired": self.signed_again(iat=now - 7200, nbf=now - 7200, exp=now - 3600),
            "wrong audience": self.signed_again(aud=CUSTOMER_API),
            "wrong issuer": self.signed_again(iss=f"{issuer}-2"),
            "forged signature": self.signed_again(_foreign_key()),
            "unknown kid": self.signed_again(_foreign_key(), header={"kid": "unknown"}),
            "alg none": self.signed_again(alg="none"),
        }


@cache
def _foreign_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def get_token(laptop: Laptop, client_id: str) -> str:
    """Return a new token of a client."""
    return str(_post(laptop, "token", client_id, grant_type="client_credentials", scope="country.read")["access_token"])


def get_jwt(laptop: Laptop, client_id: str) -> Token:
    """Return a new JWT of a client with the private key that signed it."""
    text = get_token(laptop, client_id)
    stored = aws_client(laptop.addresses.aws_port, "secretsmanager")
    current = {"SecretId": secret_name("SigningKeysSecret"), "VersionStage": "AWSCURRENT"}
    secret = stored.get_secret_value(**current)["SecretString"]
    return Token(text, signing_keys.from_json(secret)[jwt.get_unverified_header(text)["kid"]])


def revoked_token(laptop: Laptop) -> str:
    """Return an opaque token that was revoked."""
    token = get_token(laptop, CLIENTS["opaque"])
    _post(laptop, "revoke", CLIENTS["opaque"], token=token)
    return token


def _post(laptop: Laptop, endpoint: str, client_id: str, **form: str) -> dict[str, Any]:
    url = f"{laptop.addresses.issuer}/oauth2/{endpoint}"
    response = requests.post(url, form, auth=(client_id, f"{client_id}-secret"), timeout=SECONDS)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = json.loads(response.text or "{}")
    return answer
