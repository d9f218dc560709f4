"""An issuer of workload tokens on the laptop, in the shape of GitHub Actions: its documents, and a token.

Write the documents that the issuer publishes: python issuer.py publish ISSUER FOLDER
Print a token with these claims: python issuer.py token ISSUER AUDIENCE NAME=VALUE …

The private key is in `issuer-key.pem` in the current folder.
"""

import json
import sys
import time
import uuid
from pathlib import Path
from typing import cast

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

KEY_FILE = Path("issuer-key.pem")
KEY_ID = "one"


def private_key() -> rsa.RSAPrivateKey:
    """Return the issuer's key; create it at the first call."""
    if not KEY_FILE.exists():
        new = rsa.generate_private_key(65_537, 2048)
        KEY_FILE.write_bytes(new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cast("rsa.RSAPrivateKey", load_pem_private_key(KEY_FILE.read_bytes(), password=None))


def publish(issuer: str, folder: Path) -> None:
    """Write the discovery document and the key set."""
    jwk = jwt.get_algorithm_by_name("RS256").to_jwk(private_key().public_key(), as_dict=True)
    (folder / ".well-known").mkdir(parents=True, exist_ok=True)
    metadata = {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}
    (folder / ".well-known" / "openid-configuration").write_text(json.dumps(metadata))
    (folder / "jwks").write_text(json.dumps({"keys": [{**jwk, "kid": KEY_ID, "use": "sig"}]}))


def token(issuer: str, audience: str, *claims: str) -> str:
    """Return a token that is valid for five minutes."""
    now = int(time.time())
    times = {"iat": now, "exp": now + 300, "jti": str(uuid.uuid4())}
    given = dict(claim.split("=", 1) for claim in claims)
    return jwt.encode({"iss": issuer, "aud": audience, **times, **given}, private_key(), "RS256", {"kid": KEY_ID})


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "publish":
        publish(arguments[0], Path(arguments[1]))
    else:
        sys.stdout.write(token(*arguments))
