"""Client secrets: generated, stored as digests, and verified in constant time.

A generated secret has 256 random bits, therefore SHA-256 is enough. An imported secret may be a
password. It is stored with scrypt (RFC 7914) at the cost for interactive logins, which each failed
authentication pays once. Verified imported secrets are cached by an HMAC with a key of the process.
"""

import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import scrypt, sha256
from threading import BoundedSemaphore

from authorizer import base64url

SCANNABLE_PREFIX = "gh_"
"""The prefix of all secrets and tokens, for secret scanners. Their kind follows."""

SECRET_PREFIX = f"{SCANNABLE_PREFIX}cs_"

_COST, _BLOCK_SIZE, _PARALLELISM = 2**14, 8, 1
_KEY_BYTES = 32
_MAX_REMEMBERED = 1024
_DIGEST = re.compile(r"sha256\$[0-9a-f]{64}|scrypt\$16384\$8\$1\$[\w-]{22}\$[\w-]{43}", re.ASCII)


_MOST_DERIVATIONS = 2
# Each takes 16 MiB. A Lambda function has one at a time; a server with threads must limit them.
_derivations = BoundedSemaphore(_MOST_DERIVATIONS)


class WrongSecretError(Exception):
    """Raised when a presented secret is not one of the client's valid secrets."""


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One of a client's secrets: `sha256$hex` or `scrypt$n$r$p$salt$hash`, and its validity.

    It is valid while `not_before <= now < expires_at`, in seconds; None is unlimited.
    """

    digest: str
    not_before: int | None = None
    expires_at: int | None = None

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError("A client secret's digest is malformed.")

    @property
    def is_imported(self) -> bool:
        """True if it is stored with scrypt."""
        return self.digest.startswith("scrypt$")

    def is_live(self, now: float) -> bool:
        """Return whether it is valid at `now`."""
        return (self.not_before is None or self.not_before <= now) and (
            self.expires_at is None or now < self.expires_at
        )


def random_credential(prefix: str) -> str:
    """Return a prefix and 256 random bits in 43 characters of base64url."""
    return prefix + secrets.token_urlsafe(_KEY_BYTES)


def generate_secret() -> str:
    """Return a new secret of 256 random bits, with a prefix for secret scanners."""
    return random_credential(SECRET_PREFIX)


def digest_generated(secret: str) -> str:
    """Return the digest of a secret from `generate_secret`."""
    return f"sha256${sha256(secret.encode()).hexdigest()}"


def digest_imported(secret: str) -> str:
    """Return the digest of an imported secret, with a new salt."""
    salt = secrets.token_bytes(16)
    key = base64url.encode(_derive(secret, salt))
    return f"scrypt${_COST}${_BLOCK_SIZE}${_PARALLELISM}${base64url.encode(salt)}${key}"


def matches_imported(secret: str, digest: str) -> bool:
    """Compare a secret with a scrypt digest, which takes tens of milliseconds."""
    *_, salt, key = digest.split("$")
    derived = base64url.encode(_derive(secret, base64url.decode(salt.encode())))
    return hmac.compare_digest(derived, key)


class SecretVerifier:
    """Verifies presented secrets. Each failure costs one scrypt."""

    def __init__(self, matches_imported: Callable[[str, str], bool] = matches_imported) -> None:
        self._matches_imported = matches_imported
        self._process_key = b""
        self._verified: dict[bytes, None] = {}

    def verify(self, presented: str, stored: Sequence[StoredSecret], now: float) -> StoredSecret:
        """Return the valid secret that matches.

        Raises:
            WrongSecretError: none matches or exists, after the same time.
        """
        live = [secret for secret in stored if secret.is_live(now)]
        match = _match_generated(presented, live) or self._match_imported(presented, live)
        if match is None:
            raise WrongSecretError
        return match

    def _match_imported(self, presented: str, live: Sequence[StoredSecret]) -> StoredSecret | None:
        candidate = next((secret for secret in live if secret.is_imported), _DUMMY)
        evidence = f"{candidate.digest}\0{presented}".encode()
        if not self._process_key:  # not made before, because processes of one snapshot must not share it
            self._process_key = secrets.token_bytes(_KEY_BYTES)
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
    for secret in live:  # all of them, so that the time does not depend on the match
        if hmac.compare_digest(secret.digest, digest):
            match = secret
    return match


def _derive(secret: str, salt: bytes) -> bytes:
    with _derivations:
        return scrypt(secret.encode(), salt=salt, n=_COST, r=_BLOCK_SIZE, p=_PARALLELISM, dklen=_KEY_BYTES)


# Used for clients without an imported secret. No secret has this digest.
_DUMMY = StoredSecret(f"scrypt${_COST}${_BLOCK_SIZE}${_PARALLELISM}${'A' * 22}${'A' * 43}")
