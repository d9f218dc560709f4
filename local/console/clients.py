"""The laptop's clients as the console uses them: how each proves who it is, and what it gets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from functions.shared.clients.client import (
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    TLS_CLIENT_AUTH,
    TokenFormat,
    TokenProfile,
)
from local import dpop_proof, keyed_clients
from local.certificates import LaptopCertificates
from local.console import tokens
from local.console.http_calls import Call, Certificate, Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functions.shared.clients.client import Client
    from local.addresses import Addresses, Service

__all__ = [
    "DEMO_CLIENTS",
    "DPOP_CLIENT",
    "KINDS",
    "ClientCalls",
    "described",
    "kind_of",
    "needs_mutual_tls",
]

DPOP_CLIENT = "service-client-dpop"
DEMO_CLIENTS = (
    "service-client-jwt",
    "service-client-key",
    "service-client-mtls",
    "service-client-self-signed",
    "service-client-api",
    "customer-service",
    "service-client-opaque",
    DPOP_CLIENT,
    "service-client-bound",
)
"""Those whose credentials the console has."""

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
}
_BY_CERTIFICATE = (TLS_CLIENT_AUTH, SELF_SIGNED_TLS_CLIENT_AUTH)
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def kind_of(client: Client) -> str:
    """Return which of KINDS a client's tokens are."""
    if client.token_format is TokenFormat.OPAQUE:
        return "opaque"
    if client.dpop_bound_access_tokens:
        return "dpop"
    if client.tls_client_certificate_bound_access_tokens:
        return "mtls"
    return "at+jwt" if client.token_profile is TokenProfile.AT_JWT else "jwt"


def described(client: Client) -> dict[str, Any]:
    """Return what the page says of a client."""
    return {
        "id": client.client_id,
        "kind": kind_of(client),
        "authentication": _authentication(client),
        "scopes": sorted(client.scopes),
    }


def needs_mutual_tls(client: Client) -> bool:
    """Whether a client proves who it is by the certificate of its connection."""
    return not client.authentication_methods.isdisjoint(_BY_CERTIFICATE)


@dataclass(frozen=True)
class ClientCalls:
    """The requests that a client makes."""

    addresses: Addresses

    def token(self, client: Client, scopes: Sequence[str], nonce: str | None = None) -> Call:
        """Return a client's token request; a DPoP client sends a proof, with a nonce if given."""
        url = f"{self.addresses.issuer}/oauth2/token"
        form: dict[str, str | Recipe] = {"grant_type": "client_credentials"}
        headers: dict[str, str | Recipe] = {}
        certificate = None
        methods = client.authentication_methods
        if PRIVATE_KEY_JWT in methods:
            form["client_assertion_type"] = _ASSERTION_TYPE
            form["client_assertion"] = self._assertion()
        elif needs_mutual_tls(client):
            url = f"{self.addresses.mtls_auth_server}/oauth2/token"
            form["client_id"] = client.client_id
            certificate = _certificate(self_signed=SELF_SIGNED_TLS_CLIENT_AUTH in methods)
        else:
            form["client_id"] = client.client_id
            form["client_secret"] = f"{client.client_id}-secret"
        if scopes:
            form["scope"] = " ".join(scopes)
        if client.dpop_bound_access_tokens:
            headers["DPoP"] = _proof("POST", url, nonce=nonce)
        return Call(url, headers, form, certificate)

    def guarded(self, path: str, token: str, scheme: str) -> Call:
        """Return a request to the guarded API, for bound tokens to the bound one.

        With the scheme DPoP it carries a proof; with a token that is bound to a certificate, the
        connection has that certificate.
        """
        headers: dict[str, str | Recipe] = {"Authorization": f"{scheme} {token}"}
        if tokens.is_bound_to_certificate(token):
            certificate = _certificate(self_signed=False)
            return Call(f"{self.addresses.mtls_bound_api}{path}", headers, certificate=certificate)
        if scheme == "DPoP" and self.addresses.bound_api:
            url = f"{self.addresses.bound_api_url}{path}"
            headers["DPoP"] = _proof("GET", url.partition("?")[0], token=token)
            return Call(url, headers)
        return Call(f"{self.addresses.guarded_api}{path}", headers)

    def service(self, token: str, scheme: str) -> Service:
        """Return which API `guarded` sends a token to."""
        is_bound = scheme == "DPoP" or tokens.is_bound_to_certificate(token)
        return "bound_api" if is_bound and self.addresses.bound_api else "guarded_api"

    def _assertion(self) -> Recipe:
        value = keyed_clients.assertion(self.addresses.issuer, time.time())
        port = f"GATEHOUSE_AUTH_PORT={self.addresses.auth_port}"
        return Recipe(value, f"{port} .venv/bin/python -m local.keyed_clients")


def _authentication(client: Client) -> str:
    named = [
        name for method, name in _METHOD_NAMES.items() if method in client.authentication_methods
    ]
    return named[0] if named else "secret"


def _certificate(*, self_signed: bool) -> Certificate:
    certificates = LaptopCertificates.ensure()
    client = certificates.self_signed_client if self_signed else certificates.client
    return Certificate(certificates.authority, client)


def _proof(method: str, url: str, *, nonce: str | None = None, token: str | None = None) -> Recipe:
    value = dpop_proof.write_proof(dpop_proof.own_key(), method, url, nonce=nonce, token=token)
    command = f".venv/bin/python -m local.dpop_proof {method} {url}"
    command += f" --nonce {nonce}" if nonce else ""
    command += f" --token {token}" if token else ""
    return Recipe(value, command)
