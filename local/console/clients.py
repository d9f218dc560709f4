"""The demo clients as the console uses them: their requests, and their tokens."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from functions.shared.authentication.credentials import ASSERTION_TYPE, SPIFFE_ASSERTION_TYPE
from functions.shared.clients.client import Client, TokenFormat, TokenProfile
from functions.shared.clients.supported import PRIVATE_KEY_JWT, SELF_SIGNED_TLS_CLIENT_AUTH, SPIFFE_JWT, TLS_CLIENT_AUTH
from infra.cli.http_client import Certificates
from local import demo_clients
from local.addresses import Addresses, Service
from local.certificates import LaptopCertificates
from local.gateway.native_jwt import RejectedTokenError, UnverifiedToken
from local.http_client import HttpRequest, ShellValue, Value

DPOP_CLIENT = "service-client-dpop"
DEMO_CLIENTS = (
    "service-client-jwt",
    "service-client-key",
    "service-client-mtls",
    "service-client-self-signed",
    "service-client-spiffe",
    "service-client-api",
    "customer-service",
    "service-client-opaque",
    DPOP_CLIENT,
    "service-client-bound",
)
"""The clients whose credentials the console has."""

KINDS = {
    "jwt": "JWT",
    "at+jwt": "JWT of RFC 9068 (at+jwt)",
    "opaque": "Opaque",
    "dpop": "JWT bound to a key (DPoP)",
    "mtls": "JWT bound to a certificate",
}
_METHOD_NAMES = {
    PRIVATE_KEY_JWT: "signed assertion",
    TLS_CLIENT_AUTH: "certificate",
    SELF_SIGNED_TLS_CLIENT_AUTH: "self-signed certificate",
    SPIFFE_JWT: "JWT-SVID",
}
_BY_CERTIFICATE = (TLS_CLIENT_AUTH, SELF_SIGNED_TLS_CLIENT_AUTH)


def kind_of(client: Client) -> str:
    """Return the kind of a client's tokens, a name in KINDS."""
    if client.token_format is TokenFormat.OPAQUE:
        return "opaque"
    if client.dpop_bound_access_tokens:
        return "dpop"
    if client.tls_client_certificate_bound_access_tokens:
        return "mtls"
    return "at+jwt" if client.token_profile is TokenProfile.AT_JWT else "jwt"


def described(client: Client) -> dict[str, Any]:
    """Return a client as the page expects it."""
    methods = (name for method, name in _METHOD_NAMES.items() if method in client.authentication_methods)
    return {
        "id": client.client_id,
        "kind": kind_of(client),
        "authentication": next(methods, "secret"),
        "scopes": sorted(client.scopes),
    }


def needs_mutual_tls(client: Client) -> bool:
    """Return whether a client authenticates with a certificate."""
    return not client.authentication_methods.isdisjoint(_BY_CERTIFICATE)


@dataclass(frozen=True, slots=True)
class ClientRequests:
    """The requests of the clients."""

    addresses: Addresses

    def token(self, client: Client, scopes: Sequence[str], nonce: str | None = None) -> HttpRequest:
        """Return a client's token request. A DPoP client sends a proof with the nonce."""
        url = f"{self.addresses.issuer}/oauth2/token"
        form: dict[str, Value] = {"grant_type": "client_credentials"}
        headers: dict[str, Value] = {}
        certificates = None
        methods = client.authentication_methods
        if PRIVATE_KEY_JWT in methods:
            form["client_assertion_type"] = ASSERTION_TYPE
            form["client_assertion"] = self._signed("assertion", demo_clients.assertion)
        elif SPIFFE_JWT in methods:
            form["client_id"] = client.client_id
            form["client_assertion_type"] = SPIFFE_ASSERTION_TYPE
            form["client_assertion"] = self._signed("svid", demo_clients.jwt_svid)
        elif needs_mutual_tls(client):
            url = f"{self.addresses.mtls_auth_server}/oauth2/token"
            form["client_id"] = client.client_id
            certificates = _certificates(self_signed=SELF_SIGNED_TLS_CLIENT_AUTH in methods)
        else:
            form["client_id"] = client.client_id
            form["client_secret"] = f"{client.client_id}-secret"
        if scopes:
            form["scope"] = " ".join(scopes)
        if client.dpop_bound_access_tokens:
            headers["DPoP"] = _proof("POST", url, nonce=nonce)
        return HttpRequest(url, headers, form, certificates=certificates)

    def guarded(self, path: str, token: str, scheme: str) -> HttpRequest:
        """Return a request to the guarded API, or with a sender-constrained token to the bound API.

        With the scheme DPoP it has a proof. With a certificate-bound token the connection has that certificate.
        """
        headers: dict[str, Value] = {"Authorization": f"{scheme} {token}"}
        if is_bound_to_certificate(token):
            certificates = _certificates(self_signed=False)
            return HttpRequest(f"{self.addresses.mtls_bound_api}{path}", headers, certificates=certificates)
        if scheme == "DPoP" and self.addresses.bound_api:
            url = f"{self.addresses.bound_api_url}{path}"
            headers["DPoP"] = _proof("GET", url.partition("?")[0], token=token)
            return HttpRequest(url, headers)
        return HttpRequest(f"{self.addresses.guarded_api}{path}", headers)

    def service(self, token: str, scheme: str) -> Service:
        """Return the API to which `guarded` sends a token."""
        is_bound = scheme == "DPoP" or is_bound_to_certificate(token)
        return "bound_api" if is_bound and self.addresses.bound_api else "guarded_api"

    def _signed(self, command: str, sign: Callable[[str, float], str]) -> ShellValue:
        value = sign(self.addresses.issuer, time.time())
        port = f"GATEHOUSE_AUTH_PORT={self.addresses.auth_port}"
        return ShellValue(value, f"$({port} .venv/bin/python -m local.demo_clients {command})")


def _certificates(*, self_signed: bool) -> Certificates:
    certificates = LaptopCertificates.ensure()
    client = certificates.self_signed_client if self_signed else certificates.client
    return Certificates(certificate=client, authority=certificates.authority)


def _proof(method: str, url: str, *, nonce: str | None = None, token: str | None = None) -> ShellValue:
    value = demo_clients.proof(method, url, nonce, token)
    command = f".venv/bin/python -m local.demo_clients proof {method} {url}"
    command += f" --nonce {nonce}" if nonce else ""
    command += f" --token {token}" if token else ""
    return ShellValue(value, f"$({command})")


def is_jwt(token: str) -> bool:
    """Return whether a token has three parts (RFC 7515, 3.1)."""
    return token.count(".") == 2


def is_bound_to_certificate(token: str) -> bool:
    """Return whether a token is a certificate-bound JWT (RFC 8705, 3.1)."""
    try:
        confirmation = UnverifiedToken.decode(token).claims.get("cnf")
    except RejectedTokenError:
        return False
    return isinstance(confirmation, dict) and "x5t#S256" in confirmation
