"""Print a DPoP proof, to try sender-constrained tokens manually (RFC 9449, 4.2).

    python -m local.dpop_proof POST http://localhost:8085/ms-auth-server/oauth2/token --nonce N
    python -m local.dpop_proof GET http://localhost:8091/ms-system/country --token T

The key is created at the first use, under .gatehouse.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from infra.cli.token_requests import ClientKey
from local import STATE
from local.demo_clients import private_key

KEY_FILE = STATE / "dpop-key.pem"


def write_proof(
    method: str, url: str, *, nonce: str | None = None, token: str | None = None
) -> str:
    """Return a proof for one request; `token` is the access token of the request."""
    key = ClientKey(private_key(KEY_FILE), "ES256")
    return key.proof(method, url, time.time(), nonce=nonce, token=token or "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a proof."""
    parser = argparse.ArgumentParser(prog="python -m local.dpop_proof", description="A DPoP proof.")
    parser.add_argument("method", help="the request's method, such as POST")
    parser.add_argument("url", help="the request's address, without a query")
    parser.add_argument("--nonce", help="the last DPoP-Nonce of the server")
    parser.add_argument("--token", help="the access token of the request")
    given = parser.parse_args(arguments)
    print(write_proof(given.method, given.url, nonce=given.nonce, token=given.token))


if __name__ == "__main__":
    main()
