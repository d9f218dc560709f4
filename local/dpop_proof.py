"""Write a DPoP proof to try bound tokens by hand (RFC 9449, 4.2).

    python -m local.dpop_proof POST http://localhost:8085/ms-auth-server/oauth2/token --nonce N
    python -m local.dpop_proof GET http://localhost:8091/ms-system/country --token T

The key is made at the first use and kept beside the laptop edition's logs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from functions.shared.keys.signing_keys import to_pem
from infra.cli.token_requests import ClientKey

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["own_key", "write_proof"]

KEY_FILE = Path(__file__).resolve().parent.parent / ".gatehouse" / "dpop-key.pem"


def write_proof(
    key: ec.EllipticCurvePrivateKey,
    method: str,
    url: str,
    *,
    nonce: str | None = None,
    token: str | None = None,
) -> str:
    """Return a proof for one request; `token` is the access token that goes with it."""
    signer = ClientKey(key, "ES256")
    return signer.proof(method, url, time.time(), nonce=nonce, token=token or "")


def own_key() -> ec.EllipticCurvePrivateKey:
    """Return the key in KEY_FILE, made now if there is none."""
    if not KEY_FILE.exists():
        KEY_FILE.parent.mkdir(parents=True, exist_ok=True)
        KEY_FILE.touch(mode=0o600)
        KEY_FILE.write_text(to_pem(ec.generate_private_key(ec.SECP256R1())))
    return cast("ec.EllipticCurvePrivateKey", load_pem_private_key(KEY_FILE.read_bytes(), None))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a proof."""
    parser = argparse.ArgumentParser(prog="python -m local.dpop_proof", description="A DPoP proof.")
    parser.add_argument("method", help="the request's method, such as POST")
    parser.add_argument("url", help="the request's address, without a query")
    parser.add_argument("--nonce", help="the last DPoP-Nonce that the server has sent")
    parser.add_argument("--token", help="the access token that the request carries")
    given = parser.parse_args(arguments)
    proof = write_proof(own_key(), given.method, given.url, nonce=given.nonce, token=given.token)
    print(proof)


if __name__ == "__main__":
    main()
