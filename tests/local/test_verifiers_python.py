"""Other verifiers accept Gatehouse's tokens, configured with the issuer's address only."""

import json
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
import requests
from joserfc import jwt as joserfc_jwt
from joserfc.errors import InvalidClaimError
from joserfc.jwk import KeySet

from local.demo_clients import COUNTRY_API, CUSTOMER_API
from tests.support.laptop import Laptop

ALGORITHMS = ["RS256"]


@dataclass(frozen=True)
class Profile:
    """A client, and how its tokens say for whom they are and what they allow."""

    client_id: str
    audience: str
    scope: str | list[str]


PROFILES = {
    "plain": Profile("service-client-jwt", "service-client-jwt", ["country.read"]),
    "at+jwt": Profile("service-client-api", COUNTRY_API, "country.read"),
}
each_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


@pytest.fixture(scope="module")
def issuer(laptop: Laptop) -> str:
    return laptop.addresses.issuer


@pytest.fixture(scope="module")
def metadata(issuer: str) -> dict[str, Any]:
    url = f"{issuer}/.well-known/openid-configuration"
    members: dict[str, Any] = requests.get(url, timeout=30).json()
    return members


def token_of(metadata: dict[str, Any], client_id: str) -> str:
    form = {"grant_type": "client_credentials", "scope": "country.read"}
    credentials = (client_id, f"{client_id}-secret")
    answer = requests.post(metadata["token_endpoint"], form, auth=credentials, timeout=30)
    return str(answer.json()["access_token"])


@each_profile
def test_pyjwt_verifies_by_kid(metadata: dict[str, Any], profile: Profile) -> None:
    keys = jwt.PyJWKClient(metadata["jwks_uri"])
    token = token_of(metadata, profile.client_id)
    key = keys.get_signing_key_from_jwt(token)
    required: Any = {"require": ["exp", "iat", "iss", "aud", "sub"]}

    def read(audience: str) -> dict[str, Any]:
        issuer = metadata["issuer"]
        return jwt.decode(token, key, ALGORITHMS, audience=audience, issuer=issuer, options=required)

    assert read(profile.audience)["scope"] == profile.scope
    with pytest.raises(jwt.InvalidAudienceError):
        read(CUSTOMER_API)


@each_profile
def test_joserfc_verifies(metadata: dict[str, Any], profile: Profile) -> None:
    published: Any = requests.get(metadata["jwks_uri"], timeout=30).json()
    keys = KeySet.import_key_set(published)
    token = joserfc_jwt.decode(token_of(metadata, profile.client_id), keys, ALGORITHMS)
    expected = {"iss": metadata["issuer"], "aud": profile.audience}

    def check(**claims: str) -> None:
        options: Any = {name: {"essential": True, "value": text} for name, text in claims.items()}
        joserfc_jwt.JWTClaimsRegistry(**options).validate(token.claims)

    check(**expected)
    assert token.claims["scope"] == profile.scope
    with pytest.raises(InvalidClaimError):
        check(**expected | {"aud": CUSTOMER_API})


def http_api_admits(issuer: str, audiences: set[str], scopes: set[str], token: str) -> bool:
    """The JWT authorizer of API Gateway's HTTP APIs, as AWS's developer guide has its rules."""
    discovered = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=30).json()
    keys = requests.get(discovered["jwks_uri"], timeout=30).json()["keys"]
    header, claims = (json.loads(urlsafe_b64decode(f"{part}==")) for part in token.split(".")[:2])
    key = next(key for key in keys if key["kid"] == header["kid"])
    assert key["kty"] == "RSA"
    jwt.decode(token, jwt.PyJWK(key), [header["alg"]], options={"verify_aud": False})
    meant_for = claims.get("aud", claims.get("client_id"))
    granted = claims.get("scope", claims.get("scp"))
    now = time.time()
    return (
        claims["iss"] == issuer == discovered["issuer"]
        and not audiences.isdisjoint(meant_for if isinstance(meant_for, list) else [meant_for])
        and claims["nbf"] <= now < claims["exp"]
        and claims["iat"] <= now
        and not scopes.isdisjoint(granted.split(" ") if isinstance(granted, str) else granted)
    )


@each_profile
def test_native_jwt_authorizer_accepts_a_token(issuer: str, metadata: dict[str, Any], profile: Profile) -> None:
    token = token_of(metadata, profile.client_id)
    assert http_api_admits(issuer, {profile.audience}, {"country.read"}, token)
    assert not http_api_admits(issuer, {profile.audience}, {"customer.write"}, token)
    assert not http_api_admits(issuer, {CUSTOMER_API}, {"country.read"}, token)
