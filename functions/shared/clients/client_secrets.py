"""Client secrets: made, stored as digests, and verified in constant time.

A generated secret has 256 random bits, so SHA-256 keeps it. A secret imported from elsewhere may be
a person's, so scrypt keeps it (RFC 7914), with the cost meant for interactive logins: every failed
authentication at a public endpoint pays it once. A warm process remembers which imported secrets it
has verified, not by the secret but by an HMAC under a key that no one else holds.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import scrypt, sha256
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Final

from functions.shared.runtime.random_credentials import SCANNABLE_PREFIX, random_credential

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECRET_PREFIX: Final = f"{SCANNABLE_PREFIX}cs_"

_COST, _BLOCK_SIZE, _PARALLELISM = 2**14, 8, 1
_KEY_BYTES = 32
_MAX_REMEMBERED = 1024
_DIGEST = re.compile(r"sha256\$[0-9a-f]{64}|scrypt\$16384\$8\$1\$[\w-]{22}\$[\w-]{43}", re.ASCII)


_MOST_DERIVATIONS = 2
# Each takes 16 MiB. A Lambda function has one at a time; a server with threads must limit them.
_derivations = BoundedSemaphore(_MOST_DERIVATIONS)


class WrongSecretError(Exception):
    """Raised when a presented secret is none of the client's live ones."""


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One of a client's secrets: `sha256$hex` or `scrypt$n$r$p$salt$hash`, and when it counts.

    Live while `not_before <= now < expires_at`; None leaves that end open. Seconds.
    """

    digest: str
    not_before: int | None = None
    expires_at: int | None = None

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError("A client secret's digest is malformed.")

    @property
    def is_imported(self) -> bool:
        """Whether scrypt keeps it."""
        return self.digest.startswith("scrypt$")

    def is_live(self, now: float) -> bool:
        """Whether it counts at `now`."""
        return (self.not_before is None or self.not_before <= now) and (
            self.expires_at is None or now < self.expires_at
        )


def generate_secret() -> str:
    """Make a secret of 256 random bits that secret scanners can recognise."""
    return random_credential(SECRET_PREFIX)


def digest_generated(secret: str) -> str:
    """Digest a secret that `generate_secret` made."""
    return f"sha256${sha256(secret.encode()).hexdigest()}"


def digest_imported(secret: str) -> str:
    """Digest a secret that came from elsewhere, under a fresh salt."""
    salt = secrets.token_bytes(16)
    key = _base64(_derive(secret, salt))
    return f"scrypt${_COST}${_BLOCK_SIZE}${_PARALLELISM}${_base64(salt)}${key}"


def matches_imported(secret: str, digest: str) -> bool:
    """Compare a secret with a scrypt digest. Slow by design: tens of milliseconds."""
    *_, salt, key = digest.split("$")
    return hmac.compare_digest(_derive(secret, _bytes(salt)), _bytes(key))


class SecretVerifier:
    """Verifies presented secrets. A failure costs one scrypt, whatever the reason."""

    def __init__(self, matches_imported: Callable[[str, str], bool] = matches_imported) -> None:
        self._matches_imported = matches_imported
        self._process_key = secrets.token_bytes(_KEY_BYTES)
        self._verified: dict[bytes, None] = {}

    def verify(self, presented: str, stored: Sequence[StoredSecret], now: float) -> StoredSecret:
        """Return the live secret that was presented.

        Raises:
            WrongSecretError: none of them; also when there are none, after the same work.
        """
        live = [secret for secret in stored if secret.is_live(now)]
        match = _match_generated(presented, live) or self._match_imported(presented, live)
        if match is None:
            raise WrongSecretError
        return match

    def _match_imported(self, presented: str, live: Sequence[StoredSecret]) -> StoredSecret | None:
        candidate = next((secret for secret in live if secret.is_imported), _DECOY)
        evidence = f"{candidate.digest}\0{presented}".encode()
        fingerprint = hmac.digest(self._process_key, evidence, "sha256")
        if fingerprint in self._verified:
            return candidate
        if not self._matches_imported(presented, candidate.digest):
            return None
        self._remember(fingerprint)
        return candidate

    def _remember(self, fingerprint: bytes) -> None:
        if len(self._verified) >= _MAX_REMEMBERED:
            self._verified.clear()
        self._verified[fingerprint] = None


def _match_generated(presented: str, live: Sequence[StoredSecret]) -> StoredSecret | None:
    digest = digest_generated(presented)
    match = None
    for secret in live:  # all of them: the time taken must not tell which one matched
        if hmac.compare_digest(secret.digest, digest):
            match = secret
    return match


def _derive(secret: str, salt: bytes) -> bytes:
    with _derivations:
        return scrypt(
            secret.encode(), salt=salt, n=_COST, r=_BLOCK_SIZE, p=_PARALLELISM, dklen=_KEY_BYTES
        )


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


# Stands in where a client has no imported secret. No secret has this digest.
_DECOY: Final = StoredSecret(f"scrypt${_COST}${_BLOCK_SIZE}${_PARALLELISM}${'A' * 22}${'A' * 43}")
