"""Signers: a key that is due, ready to sign. Every token is written by PyJWT."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from jwt.algorithms import RSAAlgorithm

from functions.shared.keys.key_ring import IN_KMS, UnusableKeyRingError, thumbprint
from functions.shared.keys.kms_signer import KmsSigner, KmsWriter
from functions.shared.keys.signing_keys import from_json, from_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from jwt.algorithms import AllowedPrivateKeys
    from mypy_boto3_kms import KMSClient

    from functions.shared.keys.key_ring import KeyRing, RingKey
    from functions.shared.keys.warm_key_ring import WarmKeyRing
    from functions.shared.runtime.secret_store import SecretStore


REREAD_SECONDS: Final = 1


class Signer(Protocol):
    """Signs claims with one key."""

    @property
    def kid(self) -> str:
        """The key's id in the published set."""

    def sign(self, claims: Mapping[str, object], typ: str | None) -> str:
        """Return a signed JWT, `typ` in its header unless None."""


class _Rs256(RSAAlgorithm):
    """PyJWT's RS256, its padding and digest made once instead of for every signature."""

    def sign(self, msg: bytes, key: RSAPrivateKey) -> bytes:
        return key.sign(msg, _PKCS1, _SHA256)


def _signature_writer() -> jwt.PyJWS:
    writer = jwt.PyJWS()
    writer.unregister_algorithm("RS256")
    writer.register_algorithm("RS256", _Rs256(RSAAlgorithm.SHA256))
    return writer


_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()
_WRITER: Final = _signature_writer()
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class LocalSigner:
    """Signs in this process with a private key."""

    kid: str
    alg: str
    private_key: AllowedPrivateKeys = field(repr=False)

    def sign(self, claims: Mapping[str, object], typ: str | None) -> str:
        """Return a signed JWT, `typ` in its header unless None."""
        payload = _encode(claims).encode()
        headers = {"kid": self.kid, "typ": typ}
        return _WRITER.encode(payload, self.private_key, self.alg, headers)


class SignerSource(Protocol):
    """Knows who signs."""

    def current(self, now: float, alg: str) -> Signer:
        """Return the signer whose key is due at `now`."""


class LocalSigners:
    """Signers for the ring's keys, loaded when the ring first names one that is not at hand.

    The ring alone decides which key signs; a private half never changes under its key id. So the
    signing keys are read again only for a key that is new, and at most once a second for one whose
    private half is missing.
    """

    def __init__(self, key_ring: WarmKeyRing, store: SecretStore, secret: str) -> None:
        self._key_ring = key_ring
        self._store = store
        self._secret = secret
        self._lock = Lock()
        self._ready: dict[str, Signer] = {}
        self._read_at = float("-inf")

    def current(self, now: float, alg: str) -> Signer:
        """Return the signer whose key is due at `now`.

        Raises:
            UnusableKeyRingError: no key may sign now, or its private half is not to be had.
        """
        ring = self._key_ring.current()
        kid = ring.signing_key(now, alg).kid
        return self._ready.get(kid) or self._read(ring, kid, now)

    def _read(self, ring: KeyRing, kid: str, now: float) -> Signer:
        with self._lock:
            if kid not in self._ready and abs(now - self._read_at) >= REREAD_SECONDS:
                private_keys = from_json(self._store.read(self._secret))
                self._ready = {
                    key.kid: _signer(key, private_keys[key.kid])
                    for key in ring.keys
                    if key.kid in private_keys
                }
                self._read_at = now
            signer = self._ready.get(kid)
        if signer is None:
            raise UnusableKeyRingError(reason=f"the private half of key {kid} is missing")
        return signer


class RingSigners:
    """Signers for the ring's keys, wherever their private halves are.

    While the edition changes a ring has keys of both.
    """

    def __init__(
        self, key_ring: WarmKeyRing, store: SecretStore, secret: str, kms: Callable[[], KMSClient]
    ) -> None:
        self._key_ring = key_ring
        self._local = LocalSigners(key_ring, store, secret)
        self._kms = kms

    def current(self, now: float, alg: str) -> Signer:
        """Return the signer whose key is due at `now`.

        Raises:
            UnusableKeyRingError: no key may sign now, or its private half is not to be had.
        """
        key = self._key_ring.current().signing_key(now, alg)
        if key.edition == IN_KMS:
            return KmsSigner(key.kid, key.alg, key.signer, self._writer)
        return self._local.current(now, alg)

    @cached_property
    def _writer(self) -> KmsWriter:
        # A client of KMS takes a while to make, and most processes never need one.
        return KmsWriter(self._kms())


def _signer(key: RingKey, pem: str) -> LocalSigner:
    private_key = from_pem(pem)
    public_jwk = jwt.get_algorithm_by_name(key.alg).to_jwk(private_key.public_key(), as_dict=True)
    if thumbprint(public_jwk) != key.kid:
        raise UnusableKeyRingError(reason=f"the private half of key {key.kid} is another key's")
    return LocalSigner(key.kid, key.alg, private_key)
