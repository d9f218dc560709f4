"""DPoP nonces without a memory: derived from a secret and the minute. RFC 9449, 8."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Final

from functions.shared.runtime.warm_cache import WarmCache
from functions.shared.storage.errors import StorageCorruptError

if TYPE_CHECKING:
    from functions.shared.runtime.clock import Clock
    from functions.shared.runtime.secret_store import SecretStore

MINUTES: Final = 5
"""For how many minutes a nonce counts: the one in which it was offered, and those that follow."""

WARM_SECONDS: Final = 300
STALE_SECONDS: Final = 600
"""While Secrets Manager cannot be asked, the secret is used no shorter than a ring is."""

_MINUTE: Final = 60
_NONCE_BYTES: Final = 18


class DpopNonces:
    """Offers nonces and recognises them, in any process that reads the same secret."""

    def __init__(self, store: SecretStore, secret: str, clock: Clock) -> None:
        self._secret = secret
        self._keys: WarmCache[str, bytes] = WarmCache(
            lambda name: _key(store.read(name)),
            clock=clock,
            max_age=WARM_SECONDS,
            hard_age=STALE_SECONDS,
            max_entries=1,
        )

    def current(self, now: float) -> str:
        """Return the nonce to offer at `now`.

        Raises:
            StorageError: the secret cannot be read.
        """
        return _nonce(self._keys.get(self._secret), int(now // _MINUTE))

    def accepts(self, nonce: str, now: float) -> bool:
        """Return whether a nonce was offered lately, or will be next: clocks differ by a little.

        A nonce that is not recent by the cached secret is checked by the secret as it is now.

        Raises:
            StorageError: the secret cannot be read.
        """
        return _is_recent(nonce, self._keys.get(self._secret), now) or _is_recent(
            nonce, self._keys.get_again(self._secret, now), now
        )


def _nonce(key: bytes, minute: int) -> str:
    digest = hmac.digest(key, f"dpop-nonce {minute}".encode(), "sha256")
    return urlsafe_b64encode(digest[:_NONCE_BYTES]).decode()


def _is_recent(nonce: str, key: bytes, now: float) -> bool:
    minute = int(now // _MINUTE)
    return any(
        hmac.compare_digest(nonce, _nonce(key, offered))
        for offered in range(minute - MINUTES + 1, minute + 2)
    )


def _key(secret: str | None) -> bytes:
    if not secret:
        raise StorageCorruptError(reason="the DPoP nonce secret has no value")
    return secret.encode()
