"""Authlib and requests-oauthlib against the running services."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests
from authlib.integrations.base_client.errors import OAuthError as AuthlibError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc6750 import InsufficientScopeError, InvalidTokenError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc7662 import IntrospectTokenValidator
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc.jwk import ECKey, KeySet
from oauthlib.oauth2 import BackendApplicationClient
from oauthlib.oauth2.rfc6749.errors import CustomOAuth2Error, InvalidClientError
from requests_oauthlib import OAuth2Session

from functions.shared.authentication.credentials import ASSERTION_TYPE
from functions.shared.clients.assertion_rules import AssertionRules
from functions.shared.clients.supported import TOKEN_EXCHANGE
from local.certificates import LaptopCertificates
from local.demo_clients import COUNTRY_API, CUSTOMER_API, assertion
from tests.support.dpop_proofs import proof
from tests.support.laptop import Laptop
from tests.support.proxy_events import FORM
from tests.support.server import client
from tests.support.tokens import ec_jwk, ec_key, jwks

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
CERTIFICATES = LaptopCertificates.ensure()
AUTHORITY = str(CERTIFICATES.authority)
AUSTRALIA = {"code": "AUS", "name": "AUSTRALIA"}


class Services:
    """The running services, as a client that knows the issuer alone finds them."""

    def __init__(self, laptop: Laptop) -> None:
        self.issuer = laptop.addresses.issuer
        self.australia = f"{laptop.addresses.guarded_api}/country/code/AUS"
        self.mtls_token = f"{laptop.addresses.mtls_auth_server}/oauth2/token"
        self.metadata = self.get(get_well_known_url(self.issuer, external=True))
        self.token = str(self.metadata["token_endpoint"])
        self.introspection = str(self.metadata["introspection_endpoint"])
        self.revocation = str(self.metadata["revocation_endpoint"])

    def get(self, url: str) -> dict[str, Any]:
        members: dict[str, Any] = requests.get(url, timeout=30).json()
        return members


@pytest.fixture(scope="module")
def services(laptop: Laptop) -> Services:
    return Services(laptop)


@pytest.fixture(scope="module")
def signing_client(laptop: Laptop) -> str:
    """A client with the two switches that Authlib needs: its `aud`, and an `exp` an hour ahead."""
    client_id = f"authlib-{uuid4()}"
    rules = AssertionRules(jwks=jwks(ec_jwk("authlib")).decode(), accepts_token_endpoint=True, lifetime=3600)
    methods = frozenset({"private_key_jwt"})
    laptop.clients.put(client(client_id, authentication_methods=methods, assertion=rules))
    return client_id


def authlib(client_id: str, method: str = "client_secret_basic", **given: Any) -> AuthlibSession:
    secret = given.pop("client_secret", f"{client_id}-secret")
    session = AuthlibSession(
        client_id, secret, token_endpoint_auth_method=method, revocation_endpoint_auth_method=method, **given
    )
    session.default_timeout = 30
    return session


# --- Authlib -------------------------------------------------------------------------------------


def test_authlib_reads_the_metadata(services: Services) -> None:
    """It insists on https, so it is shown the document that a server on https would have."""
    split = urlsplit(services.issuer)
    text = json.dumps(services.metadata)
    secure = text.replace(f"{split.scheme}://{split.netloc}", "https://auth.example")
    # It takes an empty list for a missing one; RFC 8414, 2, requires the member, and we have none.
    document = {**json.loads(secure), "response_types_supported": ["none"]}
    AuthorizationServerMetadata(document).validate()


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_uses_a_secret(services: Services, method: str) -> None:
    with authlib("service-client-jwt", method, scope="country.read") as session:
        token = session.fetch_token(services.token)
        assert token["expires_in"] == 14399
        assert session.get(services.australia).json() == AUSTRALIA


def test_authlib_reports_a_wrong_secret(services: Services) -> None:
    with authlib("service-client-jwt", client_secret="wrong") as session:
        with pytest.raises(AuthlibError) as refusal:
            session.fetch_token(services.token)
        assert refusal.value.error == "invalid_client"


@pytest.mark.parametrize("audience", ["issuer", "token"])
def test_authlib_signs_assertions(services: Services, signing_client: str, audience: str) -> None:
    key = ECKey.import_key(ec_key("authlib"), {"kid": "authlib"})
    aud = getattr(services, audience)
    signs = PrivateKeyJWT(aud, alg="ES256", headers={"kid": "authlib", "alg": "ES256"})
    with authlib(signing_client, "private_key_jwt", client_secret=key) as session:
        session.register_client_auth_method(signs)
        tokens = {session.fetch_token(services.token)["access_token"] for _ in range(2)}
        assert tokens


@pytest.mark.parametrize(
    ("client_id", "certificate"),
    [("service-client-mtls", CERTIFICATES.client), ("service-client-self-signed", CERTIFICATES.self_signed_client)],
)
def test_authlib_authenticates_with_a_certificate(services: Services, client_id: str, certificate: Path) -> None:
    with authlib(client_id, "none") as session:
        tls = {"cert": str(certificate), "verify": AUTHORITY}
        assert session.fetch_token(services.mtls_token, **tls)["token_type"] == "Bearer"


@pytest.mark.parametrize("client_id", ["service-client-jwt", "service-client-opaque", "service-client-api"])
def test_authlib_introspects_and_revokes(services: Services, client_id: str) -> None:
    """Revoke and request within one second: the new token must not be the revoked one."""
    with authlib(client_id, scope="country.read") as session:
        for _ in range(3):
            token = session.fetch_token(services.token)["access_token"]
            shown = session.introspect_token(services.introspection, token=token).json()
            assert (shown["active"], shown["client_id"]) == (True, client_id)
            assert session.get(services.australia).json() == AUSTRALIA
            assert session.revoke_token(services.revocation, token=token).status_code == 200
            gone = session.introspect_token(services.introspection, token=token).json()
            assert gone == {"active": False}


def test_authlib_exchanges_a_token(services: Services) -> None:
    with authlib("service-client-api", scope="country.read") as caller:
        received = caller.fetch_token(services.token, resource=CUSTOMER_API)
    with authlib("customer-service") as service:
        exchanged = service.fetch_token(
            services.token,
            grant_type=TOKEN_EXCHANGE,
            subject_token=received["access_token"],
            subject_token_type=ACCESS_TOKEN,
        )
        assert exchanged["issued_token_type"] == ACCESS_TOKEN
        assert service.get(services.australia).status_code == 403
        service.fetch_token(
            services.token,
            grant_type=TOKEN_EXCHANGE,
            subject_token=received["access_token"],
            subject_token_type=ACCESS_TOKEN,
            scope="country.read",
        )
        assert service.get(services.australia).json() == AUSTRALIA


class AtJwtValidator(JWTBearerTokenValidator):  # type: ignore[misc] # it has no types
    """Authlib's resource server for RFC 9068, with the keys that the metadata names."""

    def __init__(self, services: Services, resource: str) -> None:
        super().__init__(issuer=services.issuer, resource_server=resource)
        self._services = services

    def get_jwks(self) -> KeySet:
        published: Any = self._services.get(self._services.metadata["jwks_uri"])
        return KeySet.import_key_set(published)


def test_authlib_accepts_an_at_jwt(services: Services) -> None:
    with authlib("service-client-api", scope="country.read") as session:
        token = session.fetch_token(services.token)["access_token"]
    validator = AtJwtValidator(services, COUNTRY_API)
    claims = validator.authenticate_token(token)
    validator.validate_token(claims, ["country.read"], None)
    with pytest.raises(InsufficientScopeError):
        validator.validate_token(claims, ["customer.write"], None)
    elsewhere = AtJwtValidator(services, CUSTOMER_API)
    with pytest.raises(InvalidTokenError):
        elsewhere.validate_token(elsewhere.authenticate_token(token), None, None)


def test_authlib_rejects_the_plain_profile_as_at_jwt(services: Services) -> None:
    with authlib("service-client-jwt", scope="country.read") as session:
        token = session.fetch_token(services.token)["access_token"]
    validator = AtJwtValidator(services, "service-client-jwt")
    with pytest.raises(InvalidTokenError):
        validator.validate_token(validator.authenticate_token(token), None, None)


class OpaqueValidator(IntrospectTokenValidator):  # type: ignore[misc] # it has no types
    """Authlib's resource server for opaque tokens."""

    def __init__(self, services: Services, session: AuthlibSession) -> None:
        super().__init__()
        self._services = services
        self._session = session

    def introspect_token(self, token_string: str) -> Any:
        answer = self._session.introspect_token(self._services.introspection, token=token_string)
        return answer.json()


def test_authlib_guards_an_api_by_introspection(services: Services) -> None:
    with authlib("service-client-opaque", scope="country.read") as session:
        token = session.fetch_token(services.token)["access_token"]
        validator = OpaqueValidator(services, session)
        shown = validator.authenticate_token(token)
        validator.validate_token(shown, ["country.read"], None)
        with pytest.raises(InvalidTokenError):
            validator.validate_token(validator.authenticate_token("gh_at_nothing"), None, None)


# --- requests-oauthlib ---------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _insecure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The laptop speaks http, which oauthlib takes for a mistake."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


def oauthlib(client_id: str) -> OAuth2Session:
    return OAuth2Session(client=BackendApplicationClient(client_id, scope="country.read"))


@pytest.mark.parametrize("client_id", ["service-client-jwt", "service-client-opaque"])
@pytest.mark.parametrize("in_form", [False, True])
def test_requests_oauthlib_uses_a_secret(services: Services, client_id: str, *, in_form: bool) -> None:
    secret = f"{client_id}-secret"
    with oauthlib(client_id) as session:
        token = session.fetch_token(services.token, client_secret=secret, include_client_id=in_form)
        assert token["scope"] == ["country.read"]
        assert session.get(services.australia).json() == AUSTRALIA


def test_requests_oauthlib_reports_a_wrong_secret(services: Services) -> None:
    with oauthlib("service-client-jwt") as session, pytest.raises(InvalidClientError):
        session.fetch_token(services.token, client_secret="wrong")


def test_requests_oauthlib_sends_an_assertion(services: Services) -> None:
    with oauthlib("service-client-key") as session:
        token = session.fetch_token(
            services.token,
            include_client_id=True,
            client_assertion_type=ASSERTION_TYPE,
            client_assertion=assertion(services.issuer, time.time()),
        )
        assert token["token_type"] == "Bearer"


def test_requests_oauthlib_authenticates_with_a_certificate(services: Services) -> None:
    with oauthlib("service-client-mtls") as session:
        token = session.fetch_token(
            services.mtls_token, include_client_id=True, cert=str(CERTIFICATES.client), verify=AUTHORITY
        )
        assert token["scope"] == ["country.read"]


def test_requests_oauthlib_gets_a_dpop_token(services: Services) -> None:
    """It knows no DPoP: it is given the proof, and asked for the nonce."""
    client_id, nonces = "service-client-dpop", []

    def note_nonce(answer: requests.Response) -> requests.Response:
        nonces.append(answer.headers["DPoP-Nonce"])
        return answer

    with oauthlib(client_id) as session:

        def ask(nonce: str | None = None) -> Any:
            written = proof(now=time.time(), htu=services.token, nonce=nonce)
            return session.fetch_token(
                services.token, client_secret=f"{client_id}-secret", headers={"DPoP": written, "Content-Type": FORM}
            )

        session.register_compliance_hook("access_token_response", note_nonce)
        with pytest.raises(CustomOAuth2Error, match="use_dpop_nonce"):
            ask()
        assert ask(nonces[-1])["token_type"] == "DPoP"


def test_oauthlib_revokes(services: Services) -> None:
    client_id = "service-client-api"
    with oauthlib(client_id) as session, authlib(client_id) as other:
        token = session.fetch_token(services.token, client_secret=f"{client_id}-secret")
        text = token["access_token"]
        asked = BackendApplicationClient(client_id)
        url, headers, body = asked.prepare_token_revocation_request(services.revocation, text)
        credentials = (client_id, f"{client_id}-secret")
        answer = requests.post(url, data=body, headers=headers, auth=credentials, timeout=30)
        assert answer.status_code == 200
        shown = other.introspect_token(services.introspection, token=text).json()
        assert shown == {"active": False}
