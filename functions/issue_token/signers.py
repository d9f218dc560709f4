"""Signers: a key that is due, ready to sign. Every token is written by PyJWT."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import jwt

from functions.shared.key_ring import UnusableKeyRingError, thumbprint
from functions.shared.signing_keys import from_json, from_pem

if TYPE_CHECKING:
    from functions.shared.clock import Clock
    from functions.shared.key_ring import RingKey
    from functions.shared.secret_store import SecretStore
    from functions.shared.warm_key_ring import WarmKeyRing


class Signer(Protocol):
    """Signs claims with one key."""

    @property
    def kid(self) -> str:
        """The key's id in the published set."""

    def sign(self, claims: dict[str, Any], typ: str | None) -> str:
        """Return a signed JWT, `typ` in its header unless None."""


@dataclass(frozen=True, slots=True)
class LocalSigner:
    """Signs in this process with a private key."""

    kid: str
    alg: str
    private_key: Any = field(repr=False)

    def sign(self, claims: dict[str, Any], typ: str | None) -> str:
        """Return a signed JWT, `typ` in its header unless None."""
        headers = {"kid": self.kid, "typ": typ}
        return jwt.encode(claims, self.private_key, algorithm=self.alg, headers=headers)


class SignerSource(Protocol):
    """Knows who signs."""

    def current(self, now: float, alg: str) -> Signer:
        """Return the signer whose key is due at `now`."""
