"""The clients of the walkthrough and of docs/, and the client of the authorizer.

Their secrets are public, because they exist on a laptop only. Private keys are under .gatehouse and never committed.

python -m local.demo_clients assertion             print a client assertion of `service-client-key`.
python -m local.demo_clients svid                  print a JWT-SVID of `service-client-spiffe`.
python -m local.demo_clients proof METHOD URL …    print a DPoP proof
"""

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt

from functions.shared.clients.assertion_rules import AssertionRules
from functions.shared.clients.certificate_name import CertificateName, CertificateNameKind
from functions.shared.clients.client import Client, TokenFormat, TokenProfile
from functions.shared.clients.client_secrets import StoredSecret, digest_generated, digest_imported
from functions.shared.clients.spiffe_rules import SpiffeRules
from functions.shared.clients.supported import (
    CLIENT_CREDENTIALS,
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    SPIFFE_JWT,
    SPIFFE_X509,
    TLS_CLIENT_AUTH,
    TOKEN_EXCHANGE,
)
from infra.cli.token_requests import ClientKey, new_key, read_key
from local import STATE
from local.addresses import Addresses
from local.certificates import CLIENT_NAME, SPIFFE_ID, LaptopCertificates

SCOPES = ("country.read", "customer.read", "customer.write")
COUNTRY_API = "https://country.example"
CUSTOMER_API = "https://customer.example"
"""Names of two APIs, for the audience of tokens. Nothing listens there."""
MCP_SERVER = "http://localhost:8101/mcp"
"""The MCP server of docs/examples/mcp, if it runs."""

SIGNING_CLIENT = "service-client-key"
KEY_FILE = STATE / "keys" / f"{SIGNING_CLIENT}.pem"
SVID_KEY_FILE = STATE / "keys" / "trust-domain.pem"
PROOF_KEY_FILE = STATE / "dpop-key.pem"
_ALGORITHM = "ES256"
_KEY_ID = "laptop"
SECRET_METHODS = frozenset({CLIENT_SECRET_BASIC, CLIENT_SECRET_POST})


def demo_clients(*resources: str) -> list[Client]:
    """Return the two clients of the walkthrough, and three more.

    `service-client-api` gets at+jwt tokens for either API, and for `resources`. Tokens of `service-client-dpop` are
    bound to a key. `customer-service` is the customer API, which exchanges tokens to call the country API.
    """
    return [
        _with_secret("service-client-jwt", token_profile=TokenProfile.PLAIN),
        _with_secret("service-client-opaque", token_format=TokenFormat.OPAQUE),
        _with_secret(
            "service-client-api",
            token_profile=TokenProfile.AT_JWT,
            audience=(COUNTRY_API,),
            allowed_resources=frozenset({CUSTOMER_API, *resources}),
            default_scopes=("country.read",),
            token_lifetime=600,
            claims={"tenant": "blue"},
        ),
        _with_secret(
            "service-client-dpop",
            token_profile=TokenProfile.AT_JWT,
            audience=(COUNTRY_API,),
            dpop_bound_access_tokens=True,
            dpop_nonce_required=True,
        ),
        _with_secret(
            "customer-service",
            grant_types=frozenset({CLIENT_CREDENTIALS, TOKEN_EXCHANGE}),
            token_profile=TokenProfile.AT_JWT,
            audience=(COUNTRY_API,),
            resource_audiences=frozenset({CUSTOMER_API}),
            exchange_subjects=frozenset({"service-client-api"}),
        ),
    ]


def keyed_clients() -> list[Client]:
    """Return the clients without a secret: one signs assertions, one has SVIDs, three have certificates.

    Missing keys and certificates are created.
    """
    name = CertificateName(CertificateNameKind.SAN_DNS, CLIENT_NAME)
    thumbprint = LaptopCertificates.ensure().self_signed_thumbprint()
    return [
        _client(
            SIGNING_CLIENT,
            authentication_methods=frozenset({PRIVATE_KEY_JWT}),
            assertion=AssertionRules(jwks=_public_keys(), signing_alg=_ALGORITHM),
            token_profile=TokenProfile.PLAIN,
        ),
        _client(
            "service-client-mtls",
            authentication_methods=frozenset({TLS_CLIENT_AUTH}),
            certificate_name=name,
            token_profile=TokenProfile.PLAIN,
        ),
        _client(
            "service-client-bound",
            authentication_methods=frozenset({TLS_CLIENT_AUTH}),
            certificate_name=name,
            tls_client_certificate_bound_access_tokens=True,
            token_profile=TokenProfile.AT_JWT,
            audience=(COUNTRY_API,),
        ),
        _client(
            "service-client-self-signed",
            authentication_methods=frozenset({SELF_SIGNED_TLS_CLIENT_AUTH}),
            certificate_thumbprints=frozenset({thumbprint}),
            token_profile=TokenProfile.PLAIN,
        ),
        _client(
            "service-client-spiffe",
            authentication_methods=frozenset({SPIFFE_JWT, SPIFFE_X509}),
            spiffe=SpiffeRules(spiffe_id=SPIFFE_ID, bundle=_bundle()),
            token_profile=TokenProfile.PLAIN,
        ),
    ]


def authorizer_client(secret: str) -> Client:
    """Return the authorizer's client: it gets no tokens, and introspects those with its scopes."""
    return Client(
        client_id="authorizer",
        name="The guarded API's authorizer",
        authentication_methods=SECRET_METHODS,
        secrets=(StoredSecret(digest_generated(secret)),),
        grant_types=frozenset(),
        resource_scopes=frozenset(SCOPES),
    )


def assertion(issuer: str, now: float) -> str:
    """Return an assertion of `service-client-key` for the server with this issuer."""
    return key(KEY_FILE, _KEY_ID).assertion(SIGNING_CLIENT, issuer, now)


def jwt_svid(issuer: str, now: float) -> str:
    """Return a JWT-SVID of `service-client-spiffe` for the server with this issuer."""
    claims = {"sub": SPIFFE_ID, "aud": [issuer], "iat": int(now), "exp": int(now) + 300}
    return jwt.encode(claims, key(SVID_KEY_FILE).private_key, _ALGORITHM, {"kid": _KEY_ID})


def _bundle() -> str:
    """Return the SPIFFE bundle of the laptop's trust domain."""
    pem = LaptopCertificates.ensure().authority.read_text()
    x5c = "".join(pem.splitlines()[1:-1])
    authority = {"kty": "EC", "use": "x509-svid", "x5c": [x5c]}
    return json.dumps({"keys": [authority, {**_public_key(SVID_KEY_FILE), "kid": _KEY_ID, "use": "jwt-svid"}]})


def key(file: Path, kid: str | None = None) -> ClientKey:
    """Return the P-256 key in a file. A missing file is created with mode 0600."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:  # runs on other ports use the same file
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            new_key(file)
        return read_key(file, kid=kid)


def _public_keys() -> str:
    return json.dumps({"keys": [{**_public_key(KEY_FILE), "kid": _KEY_ID, "alg": _ALGORITHM, "use": "sig"}]})


def _public_key(file: Path) -> dict[str, Any]:
    public_key = key(file).private_key.public_key()
    return jwt.get_algorithm_by_name(_ALGORITHM).to_jwk(public_key, as_dict=True)


def _with_secret(client_id: str, **registered: Any) -> Client:
    return _client(
        client_id,
        authentication_methods=SECRET_METHODS,
        # scrypt, because this secret is not a random one that Gatehouse generated.
        secrets=(StoredSecret(digest_imported(f"{client_id}-secret")),),
        **registered,
    )


def _client(client_id: str, **registered: Any) -> Client:
    return Client(client_id=client_id, name="A demo client", scopes=frozenset(SCOPES), **registered)


def proof(method: str, url: str, nonce: str | None = None, token: str | None = None) -> str:
    """Return a DPoP proof for one request; `token` is the access token of the request."""
    return key(PROOF_KEY_FILE).proof(method, url, time.time(), nonce=nonce, token=token or "")


def main(arguments: Sequence[str]) -> None:
    """Print a client assertion, a JWT-SVID or a DPoP proof."""
    parser = argparse.ArgumentParser(prog="python -m local.demo_clients")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("assertion", help=f"a client assertion of {SIGNING_CLIENT} (RFC 7523)")
    commands.add_parser("svid", help="a JWT-SVID of service-client-spiffe")
    given_proof = commands.add_parser("proof", help="a DPoP proof (RFC 9449)")
    given_proof.add_argument("method", help="the request's method, such as POST")
    given_proof.add_argument("url", help="the request's address, without a query")
    given_proof.add_argument("--nonce", help="the last DPoP-Nonce of the server")
    given_proof.add_argument("--token", help="the access token of the request")
    given = parser.parse_args(arguments)
    if given.command == "proof":
        print(proof(given.method, given.url, given.nonce, given.token))
    else:
        sign = assertion if given.command == "assertion" else jwt_svid
        print(sign(Addresses.from_env(os.environ).issuer, time.time()))


if __name__ == "__main__":
    main(sys.argv[1:])
