"""Signed JWTs: PyJWT's algorithms make the signatures, and what never changes is made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from jwt.utils import base64url_encode

from functions.shared.web.json_text import json_encoder

if TYPE_CHECKING:
    from jwt.algorithms import Algorithm


_encode: Final = json_encoder(compact=True)


@dataclass(frozen=True, slots=True)
class JwtSigner:
    """Signs claims with one key: a private key, or the name of one elsewhere.

    `algorithm` is PyJWT's or keeps to its interface, and `key` is what that algorithm signs with.
    """

    kid: str
    alg: str
    algorithm: Algorithm
    key: Any = field(repr=False)

    def sign(self, claims: Mapping[str, object], typ: str | None) -> str:
        """Return a signed JWT, `typ` in its header unless None. RFC 7515, 7.1.

        Raises:
            StorageError: the key is elsewhere, and cannot be had just now.
        """
        payload = base64url_encode(_encode(claims).encode())
        signing_input = _header(self.alg, self.kid, typ) + payload
        signature = base64url_encode(self.algorithm.sign(signing_input, self.key))
        return (signing_input + b"." + signature).decode("ascii")


@lru_cache(maxsize=64)
def _header(alg: str, kid: str, typ: str | None) -> bytes:
    """Return a token's first part, with the dot behind it; few differ in a process's life."""
    members = {"alg": alg, "kid": kid} | ({"typ": typ} if typ else {})
    return base64url_encode(_encode(members).encode()) + b"."
