"""Imports create nothing that SnapStart must not copy."""

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
