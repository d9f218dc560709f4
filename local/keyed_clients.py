"""Demo clients without a secret: one signs assertions, three have certificates.

Private halves are under .gatehouse, for whoever wants to try; they are never committed, and good
for nothing but this laptop.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm

from functions.shared.clients.assertion_rules import AssertionRules
from functions.shared.clients.certificate_subject import CertificateSubject, SubjectKind
from functions.shared.clients.client import (
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    TLS_CLIENT_AUTH,
    Client,
    TokenProfile,
)
from functions.shared.keys.signing_keys import to_pem
from local.addresses import Addresses
from local.certificates import CLIENT_NAME, LaptopCertificates
from local.demo_clients import COUNTRY_API, SCOPES

__all__ = ["KEY_FILE", "SIGNING_CLIENT", "assertion", "keyed_clients"]

SIGNING_CLIENT = "service-client-key"
KEY_FILE = Path(__file__).resolve().parent.parent / ".gatehouse" / "keys" / f"{SIGNING_CLIENT}.pem"
_ALGORITHM = "ES256"
_KEY_ID = "laptop"
_ASSERTION_SECONDS = 60


def keyed_clients() -> list[Client]:
    """The four clients; their keys and certificates are made if there are none."""
    certificates = LaptopCertificates.ensure()
    scopes = frozenset(SCOPES)
    return [
        Client(
            client_id=SIGNING_CLIENT,
            name="A demo client",
            authentication_methods=frozenset({PRIVATE_KEY_JWT}),
            assertion=AssertionRules(jwks=_public_keys(), signing_alg=_ALGORITHM),
            token_profile=TokenProfile.PLAIN,
            scopes=scopes,
        ),
        Client(
            client_id="service-client-mtls",
            name="A demo client",
            authentication_methods=frozenset({TLS_CLIENT_AUTH}),
            certificate_name=CertificateSubject(SubjectKind.SAN_DNS, CLIENT_NAME),
            token_profile=TokenProfile.PLAIN,
            scopes=scopes,
        ),
        Client(
            client_id="service-client-bound",
            name="A demo client",
            authentication_methods=frozenset({TLS_CLIENT_AUTH}),
            certificate_name=CertificateSubject(SubjectKind.SAN_DNS, CLIENT_NAME),
            tls_client_certificate_bound_access_tokens=True,
            token_profile=TokenProfile.AT_JWT,
            audience=(COUNTRY_API,),
            scopes=scopes,
        ),
        Client(
            client_id="service-client-self-signed",
            name="A demo client",
            authentication_methods=frozenset({SELF_SIGNED_TLS_CLIENT_AUTH}),
            certificate_thumbprints=frozenset({certificates.self_signed_thumbprint()}),
            token_profile=TokenProfile.PLAIN,
            scopes=scopes,
        ),
    ]


def assertion(issuer: str, now: float) -> str:
    """Sign an assertion of `service-client-key` for the server with this issuer. RFC 7523, 3."""
    claims = {
        "iss": SIGNING_CLIENT,
        "sub": SIGNING_CLIENT,
        "aud": issuer,
        "iat": int(now),
        "exp": int(now) + _ASSERTION_SECONDS,
        "jti": str(uuid.uuid4()),
    }
    headers = {"typ": "client-authentication+jwt", "kid": _KEY_ID}
    return jwt.encode(claims, _private_key(), _ALGORITHM, headers)


def _public_keys() -> str:
    jwk = ECAlgorithm.to_jwk(_private_key().public_key(), as_dict=True)
    return json.dumps({"keys": [{**jwk, "kid": _KEY_ID, "alg": _ALGORITHM, "use": "sig"}]})


def _private_key() -> ec.EllipticCurvePrivateKey:
    """Return the client's key, made now if there is none yet."""
    if not KEY_FILE.exists():
        KEY_FILE.parent.mkdir(parents=True, exist_ok=True)
        made = KEY_FILE.with_name(f"{KEY_FILE.name}.{uuid.uuid4()}")
        made.touch(mode=0o600)
        made.write_text(to_pem(ec.generate_private_key(ec.SECP256R1())))
        try:
            KEY_FILE.hardlink_to(made)  # unlike a renaming, it never takes another's place
        except FileExistsError:
            pass
        finally:
            made.unlink()
    key = load_pem_private_key(KEY_FILE.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101  what was written above
    return key


def main() -> None:
    """Print an assertion for the laptop's authorization server."""
    print(assertion(Addresses.from_env(os.environ).issuer, time.time()))


if __name__ == "__main__":
    main()
