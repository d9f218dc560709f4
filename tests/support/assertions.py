"""Client assertions, good and bad, of clients and of other issuers."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import jwt

from authorizer.errors import InvalidTokenError, Reason
from authorizer.jwk import VerificationKey, parse_key
from authorizer.jws import ALGORITHMS
from functions.shared.authentication.client_assertion import dummy_key
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.credentials import ASSERTION_TYPE
from functions.shared.authentication.remote_jwks import RemoteJwks
from functions.shared.clients.client import Client
from functions.shared.web.audit import AuditEntry
from functions.shared.web.form import read_form
from functions.shared.web.oauth_errors import TemporarilyUnavailableError
from functions.shared.web.proxy_request import read_event
from tests.support.aws import ISSUER
from tests.support.server import NOW
from tests.support.tokens import ec_key, ed25519_key, rsa_key

CLIENT_ID = "signer"
_KEYS: Mapping[str, Any] = {"RS": rsa_key, "PS": rsa_key, "ES": ec_key, "Ed": ed25519_key}


def assertion_claims(now: float = NOW, **changes: object) -> dict[str, Any]:
    """Return the claims of a good assertion, changed: a claim set to ... is left out."""
    good: dict[str, object] = {
        "iss": CLIENT_ID,
        "sub": CLIENT_ID,
        "aud": ISSUER,
        "iat": int(now),
        "exp": int(now) + 60,
        "jti": str(uuid4()),
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


def assertion(
    claims: Mapping[str, object] | None = None, *, alg: str = "ES256", kid: str = "ec", **header: object
) -> str:
    """Sign claims with the key named like the key id; a header member set to ... is left out."""
    headers = {"kid": kid, "typ": "JWT"} | header
    given = {name: value for name, value in headers.items() if value is not ...}
    if "typ" not in given:
        given["typ"] = None
    payload = json.dumps(dict(claims or assertion_claims())).encode()
    return jwt.PyJWS().encode(payload, _KEYS[alg[:2]](kid), alg, given)


def assertion_form(token: str, **more: str) -> dict[str, str]:
    """Return the form parameters of a token request with an assertion."""
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": token,
        **more,
    }


def authenticate(
    authentication: ClientAuthentication, event: Mapping[str, Any], entry: AuditEntry | None = None
) -> Client:
    """Authenticate the client of a form request."""
    request = read_event(event)
    return authentication.authenticate(request, read_form(request), entry or AuditEntry("issue_token"))


class MemoryRemoteJwks(RemoteJwks):
    """Keys by the URL that publishes them. Other URLs are unavailable."""

    def __init__(self, **jwks: list[Mapping[str, object]]) -> None:
        self.published = dict(jwks)
        self.fetched: list[str] = []

    def publish(self, address: str, *jwks: Mapping[str, object]) -> None:
        self.published[address] = list(jwks)

    def find(
        self, jwks_uri: str, kid: str, known_subject_iat: float | None = None, rejected: VerificationKey | None = None
    ) -> VerificationKey:
        return self._find(jwks_uri, kid)

    def find_by_issuer(
        self, issuer: str, kid: str, known_subject_iat: float | None = None, rejected: VerificationKey | None = None
    ) -> VerificationKey:
        return self._find(issuer, kid)

    def _find(self, address: str, kid: str) -> VerificationKey:
        self.fetched.append(address)
        if address not in self.published:
            raise TemporarilyUnavailableError(reason=f"no usable key set from {address}")
        for jwk in self.published[address]:
            if jwk["kid"] == kid:
                return parse_key(jwk, ALGORITHMS)
        raise InvalidTokenError(Reason.KID_UNKNOWN)


class CountedDummy:
    """Dummy keys that count the signatures that are verified with them."""

    def __init__(self) -> None:
        self.checks = 0

    def __call__(self, alg: str) -> VerificationKey:
        key = dummy_key(alg)

        def check(alg: str, signature: bytes, signed: bytes) -> None:
            self.checks += 1
            key.check(alg, signature, signed)

        return key._replace(check=check)
