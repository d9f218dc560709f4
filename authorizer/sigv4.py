"""AWS Signature Version 4 of a request without a query, as all of AWS's JSON protocols send it.

`aws_environment` finds the endpoints and the credentials.
"""

from _hashlib import hmac_digest, openssl_sha256  # importing hashlib and hmac takes 2 ms more
from collections.abc import Mapping
from typing import NamedTuple


class Credentials(NamedTuple):
    """Credentials. `token` is empty for those of a user, `expiration` for those that never expire."""

    access_key: str
    secret_key: str
    token: str = ""
    expiration: str = ""

    def __repr__(self) -> str:
        """Name the access key only, because the others are secret."""
        return f"Credentials({self.access_key})"


def authorization(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    *,
    region: str,
    service: str,
) -> str:
    """Return the `Authorization` header. `path` has nothing to encode or to normalize.

    All headers are signed. Their names are in lower case, and `host` and `x-amz-date` are among them.
    """
    time = headers["x-amz-date"]
    names = sorted(headers)
    signed = ";".join(names)
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
    canonical = f"{method}\n{path}\n\n{lines}\n{signed}\n{_sha256(body)}"
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{_sha256(canonical.encode())}"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac_digest(key, part.encode(), "sha256")
    return (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={signed}, Signature={key.hex()}"
    )


def _sha256(message: bytes) -> str:
    return openssl_sha256(message).hexdigest()
