"""requests_oauth2client against the running services."""

from typing import Any

import pytest
import requests
from jwskate import InvalidClaim, Jwk, JwkSet, SignedJwt
from requests_oauth2client import (
    BearerToken,
    ClientSecretBasic,
    ClientSecretPost,
    DPoPToken,
    InvalidClient,
    InvalidScope,
    InvalidTarget,
    OAuth2Client,
    OAuth2ClientCredentialsAuth,
    PrivateKeyJwt,
    PublicApp,
)

from local.certificates import LaptopCertificates
from local.demo_clients import COUNTRY_API, CUSTOMER_API, KEY_FILE, SIGNING_CLIENT
from tests.support.laptop import Laptop

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
AUSTRALIA = {"code": "AUS", "name": "AUSTRALIA"}
CERTIFICATES = LaptopCertificates.ensure()


@pytest.fixture(scope="module")
def issuer(laptop: Laptop) -> str:
    return laptop.addresses.issuer


@pytest.fixture(scope="module")
def australia(laptop: Laptop) -> str:
    return f"{laptop.addresses.guarded_api}/country/code/AUS"


def client(issuer: str, auth: str | Any) -> OAuth2Client:
    """A client that knows the issuer alone. `testing` lets it speak http."""
    if isinstance(auth, str):
        auth = ClientSecretBasic(auth, f"{auth}-secret")
    metadata = f"{issuer}/.well-known/openid-configuration"
    return OAuth2Client.from_discovery_endpoint(metadata, issuer=issuer, auth=auth, testing=True)


@pytest.mark.parametrize("method", [ClientSecretBasic, ClientSecretPost])
@pytest.mark.parametrize(("leeway", "tokens"), [(20, 1), (700, 2)])
def test_secret_and_renewal(issuer: str, australia: str, method: Any, leeway: int, tokens: int) -> None:
    oauth = client(issuer, method("service-client-api", "service-client-api-secret"))
    auth = OAuth2ClientCredentialsAuth(oauth, scope="country.read", leeway=leeway)
    used = set()
    for _ in range(2):
        assert requests.get(australia, auth=auth, timeout=30).json() == AUSTRALIA
        used.add(str(auth.token))
    assert len(used) == tokens


def test_signed_assertion(issuer: str) -> None:
    key = Jwk.from_pem(KEY_FILE.read_bytes())
    named = Jwk({**key, "kid": "laptop", "alg": "ES256"})
    oauth = client(issuer, PrivateKeyJwt(SIGNING_CLIENT, named, aud=issuer))
    assert oauth.client_credentials(scope="country.read").scope == "country.read"
    # RFC 10070 wants the issuer as audience; by itself it names the token endpoint.
    with pytest.raises(InvalidClient):
        client(issuer, PrivateKeyJwt(SIGNING_CLIENT, named)).client_credentials()


def test_client_certificate(laptop: Laptop) -> None:
    with requests.Session() as session:
        session.cert, session.trust_env = str(CERTIFICATES.client), False
        session.verify = str(CERTIFICATES.authority)
        token_endpoint = f"{laptop.addresses.mtls_auth_server}/oauth2/token"
        auth = PublicApp("service-client-mtls")
        oauth = OAuth2Client(token_endpoint, auth=auth, session=session, testing=True)
        assert oauth.client_credentials().token_type == "Bearer"


def test_error_is_reported(issuer: str) -> None:
    with pytest.raises(InvalidClient):
        client(issuer, ClientSecretBasic("service-client-jwt", "wrong")).client_credentials()
    with pytest.raises(InvalidScope):
        client(issuer, "service-client-jwt").client_credentials(scope="nothing")
    with pytest.raises(InvalidTarget):
        client(issuer, "service-client-api").client_credentials(resource="https://elsewhere.example")


@pytest.mark.parametrize("client_id", ["service-client-api", "service-client-opaque"])
def test_introspection_and_revocation(issuer: str, client_id: str) -> None:
    oauth = client(issuer, client_id)
    token = oauth.client_credentials(scope="country.read")
    shown = oauth.introspect_token(token)
    assert (shown["active"], shown["client_id"]) == (True, client_id)
    assert oauth.revoke_access_token(token) is True
    assert oauth.introspect_token(token) == {"active": False}


def test_token_exchange(issuer: str, australia: str) -> None:
    received = client(issuer, "service-client-api").client_credentials(resource=CUSTOMER_API)
    service = client(issuer, "customer-service")
    exchanged = service.token_exchange(subject_token=received, scope="country.read")
    assert exchanged.issued_token_type == ACCESS_TOKEN
    assert requests.get(australia, auth=exchanged, timeout=30).json() == AUSTRALIA


def test_dpop_token(issuer: str) -> None:
    oauth = client(issuer, "service-client-dpop")
    token = oauth.client_credentials(dpop=True, scope="country.read")
    assert isinstance(token, DPoPToken)
    claims = SignedJwt(token.access_token).claims
    assert claims["cnf"] == {"jkt": token.dpop_key.dpop_jkt}


def test_key_set_verifies_a_token(issuer: str) -> None:
    token = client(issuer, "service-client-api").client_credentials()
    assert isinstance(token, BearerToken)
    keys = JwkSet(requests.get(f"{issuer}/oauth2/jwks", timeout=30).json())
    signed = SignedJwt(token.access_token)
    signed.validate(keys, algs=["RS256"], issuer=issuer, audience=COUNTRY_API)
    with pytest.raises(InvalidClaim):
        signed.validate(keys, algs=["RS256"], issuer=issuer, audience=CUSTOMER_API)
