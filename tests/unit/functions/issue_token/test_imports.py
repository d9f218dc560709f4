"""Imports create nothing that SnapStart must not copy, and load little."""

import subprocess
import sys

IMPORTED = """
import boto3, jwt, os, random, secrets, uuid

def once(*_, **__):
    raise AssertionError("made at import, so the same in every copy")

for module, names in {
    os: ("urandom",),
    secrets: ("token_bytes", "token_urlsafe", "token_hex", "choice"),
    random: ("random", "getrandbits", "randint"),
    uuid: ("uuid4",),
    boto3: ("client", "resource", "Session"),
}.items():
    for name in names:
        setattr(module, name, once)

from cryptography.hazmat.primitives.asymmetric import ec, rsa

ec.generate_private_key = rsa.generate_private_key = once
import functions.issue_token.handler
"""


def test_handler_import_creates_no_secrets_or_clients() -> None:
    subprocess.run([sys.executable, "-c", IMPORTED], env={}, check=True)


RARELY_NEEDED = """
functions.shared.clients.trust_rule functions.shared.clients.trust_store functions.issue_token.jwt_grant
authorizer.dpop boto3 botocore cryptography.hazmat.primitives.serialization cryptography.x509 jwt traceback uuid
functions.issue_token.jwt_grant functions.issue_token.token_exchange
functions.shared.authentication.client_assertion functions.shared.authentication.federated_jwt
functions.shared.authentication.mutual_tls functions.shared.authentication.private_key_jwt
functions.shared.authentication.remote_jwks functions.shared.authentication.spiffe_jwt
functions.shared.authentication.spiffe_x509 functions.shared.authentication.trust_bundles
functions.shared.clients.spiffe_rules functions.shared.clients.trust_bundle
functions.shared.clients.assertion_rules
functions.shared.clients.additional_claims functions.shared.clients.certificate_name
functions.shared.tokens.token_lookup
"""


def test_handler_import_loads_only_what_a_secret_and_a_jwt_need() -> None:
    script = "import functions.issue_token.handler, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], env={}, check=True, capture_output=True, text=True).stdout
    assert not set(loaded.split()) & set(RARELY_NEEDED.split())
