"""Signers: a key that is due, ready to sign."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from jwt.algorithms import RSAAlgorithm

from authorizer.metrics import Meter
from functions.shared.keys.cached_key_ring import CachedKeyRing
from functions.shared.keys.jwt_signer import JwtSigner
from functions.shared.keys.key_ring import (
    IN_KMS,
    RingKey,
    UnusableKeyRingError,
    key_errors,
    thumbprint,
)
from functions.shared.keys.kms_signer import KmsAlgorithm
from functions.shared.keys.signing_keys import from_json, from_pem
from functions.shared.storage.secrets_manager import SecretStore

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from mypy_boto3_kms import KMSClient


REREAD_SECONDS: Final = 1


class _Rs256(RSAAlgorithm):
    """PyJWT's RS256, its padding and digest made once instead of for every signature."""

    def sign(self, msg: bytes, key: RSAPrivateKey) -> bytes:
        return key.sign(msg, _PKCS1, _SHA256)


_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()
_RS256: Final = _Rs256(RSAAlgorithm.SHA256)


class SignerSource(Protocol):
    """Knows who signs."""

    def current(self, now: float, alg: str) -> JwtSigner:
        """Return the signer whose key is due at `now`."""


class LocalSigners:
    """Signers for the ring's keys, each made when it first signs.

    The ring alone decides which key signs; a private half never changes under its key id. So the
    signing keys are read again only for a key that is new, and at most once a second for one whose
    private half is missing or broken. One that is broken stops no other key.
    """

    def __init__(self, key_ring: CachedKeyRing, store: SecretStore, secret: str) -> None:
        self._key_ring = key_ring
        self._store = store
        self._secret = secret
        self._lock = Lock()
        self._private_keys: dict[str, str] = {}
        self._ready: dict[str, JwtSigner] = {}
        self._read_at = float("-inf")

    def current(self, now: float, alg: str) -> JwtSigner:
        """Return the signer whose key is due at `now`.

        Raises:
            UnusableKeyRingError: no key may sign now, or its private half is not to be had.
        """
        return self.of(self._key_ring.signing_key(now, alg), now)

    def of(self, key: RingKey, now: float) -> JwtSigner:
        """Return the signer of one of the ring's keys.

        Raises:
            UnusableKeyRingError: its private half is not to be had.
        """
        return self._ready.get(key.kid) or self._made(key, now)

    def _made(self, key: RingKey, now: float) -> JwtSigner:
        with self._lock:
            if key.kid not in self._ready:
                self._ready[key.kid] = _signer(key, self._private_half(key.kid, now))
            return self._ready[key.kid]

    def _private_half(self, kid: str, now: float) -> str:
        if kid not in self._private_keys and abs(now - self._read_at) >= REREAD_SECONDS:
            self._read(now)
        # Taken out: a signer is made once, and a broken half must be looked for again.
        pem = self._private_keys.pop(kid, None)
        if pem is None:
            raise UnusableKeyRingError(reason=f"the private half of key {kid} is missing or broken")
        return pem

    def _read(self, now: float) -> None:
        with key_errors():
            self._private_keys = from_json(self._store.read(self._secret))
        self._read_at = now


class RingSigners:
    """Signers for the ring's keys, wherever their private halves are.

    While the edition changes a ring has keys of both.
    """

    def __init__(
        self,
        key_ring: CachedKeyRing,
        store: SecretStore,
        secret: str,
        kms: Callable[[], KMSClient],
        meter: Meter | None = None,
    ) -> None:
        self._key_ring = key_ring
        self._local = LocalSigners(key_ring, store, secret)
        self._kms = kms
        self._meter = meter

    def current(self, now: float, alg: str) -> JwtSigner:
        """Return the signer whose key is due at `now`.

        Raises:
            UnusableKeyRingError: no key may sign now, or its private half is not to be had.
        """
        key = self._key_ring.signing_key(now, alg)
        if key.backend == IN_KMS:
            algorithm = KmsAlgorithm(self._kms_client, alg, self._meter)
            return JwtSigner(key.kid, alg, algorithm, key.signer)
        return self._local.of(key, now)

    @cached_property
    def _kms_client(self) -> KMSClient:
        # A client of KMS takes a while to make, and most processes never need one.
        return self._kms()


def _signer(key: RingKey, pem: str) -> JwtSigner:
    try:
        private_key = from_pem(pem)
    except ValueError:
        reason = f"the private half of key {key.kid} cannot be read"
        raise UnusableKeyRingError(reason=reason) from None
    algorithm = _RS256 if key.alg == "RS256" else jwt.get_algorithm_by_name(key.alg)
    if thumbprint(algorithm.to_jwk(private_key.public_key(), as_dict=True)) != key.kid:
        raise UnusableKeyRingError(reason=f"the private half of key {key.kid} is another key's")
    return JwtSigner(key.kid, key.alg, algorithm, algorithm.prepare_key(private_key))
