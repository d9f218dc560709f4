"""Signers: the current key of an algorithm, ready to sign JWTs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Protocol

from authorizer import base64url
from authorizer.aws import Aws
from authorizer.jwk_thumbprint import thumbprint
from authorizer.jws import ED25519_NAMES
from authorizer.metrics import Meter

from ..json_encoding import json_encoder
from ..metrics import KMS_SIGN_MILLISECONDS
from ..storage.aws_calls import call
from ..storage.secrets_manager import SecretStore
from .key_ring import IN_KMS, CachedKeyRing, RingKey, UnusableKeyRingError, key_errors
from .signing_keys import Sign, digest, ecdsa_from_der, external_mu, from_json, from_pem, make_sign, to_public_jwk

LONGEST_MESSAGE = 4096
"""Bytes that KMS takes as a raw message. https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html"""

SIGNING_ALGORITHM_SPECS: Mapping[str, str] = {
    "RS256": "RSASSA_PKCS1_V1_5_SHA_256",
    "PS256": "RSASSA_PSS_SHA_256",
    "ES256": "ECDSA_SHA_256",
    "ES384": "ECDSA_SHA_384",
    "Ed25519": "ED25519_SHA_512",
    "ML-DSA-44": "ML_DSA_SHAKE_256",
    "ML-DSA-65": "ML_DSA_SHAKE_256",
    "ML-DSA-87": "ML_DSA_SHAKE_256",
    "EdDSA": "ED25519_SHA_512",
}

REREAD_SECONDS = 1

to_compact_json = json_encoder(compact=True)


@dataclass(frozen=True, slots=True)
class JwtSigner:
    """Signs claims with one key. `signature` is the function that signs with it."""

    kid: str
    alg: str
    signature: Sign = field(repr=False)

    def sign(self, claims: Mapping[str, object], typ: str | None) -> str:
        """Return a signed JWT, `typ` in its header unless None. RFC 7515, 7.1.

        Raises:
            StorageError: KMS refuses or is unavailable.
        """
        return self.sign_payload(to_compact_json(claims), typ)

    def sign_payload(self, payload: str, typ: str | None) -> str:
        """Return a signed JWT of claims that are JSON already, as `sign`."""
        signing_input = _header(self.alg, self.kid, typ) + base64url.encode(payload.encode())
        return f"{signing_input}.{base64url.encode(self.signature(signing_input.encode('ascii')))}"


@lru_cache(maxsize=64)
def _header(alg: str, kid: str, typ: str | None) -> str:
    """Return a token's header and the dot; a process has few different ones."""
    members = {"alg": alg, "kid": kid} | ({"typ": typ} if typ else {})
    return base64url.encode(to_compact_json(members).encode()) + "."


class MessageTooLongError(ValueError):
    """Raised when KMS cannot sign a message: Ed25519 signs the message itself, not a digest."""


@dataclass(frozen=True, slots=True)
class KmsSignature:
    """Signs messages with a key in KMS. RFC 7518, 3. `public_key` is that of an ML-DSA key."""

    aws: Aws
    arn: str
    alg: str
    public_key: str = field(default="", repr=False)
    meter: Meter = field(default_factory=Meter)

    def __call__(self, message: bytes) -> bytes:
        """Return a signature in the form of RFC 7518.

        Raises:
            MessageTooLongError: for Ed25519, it is longer than KMS takes.
            StorageUnavailableError: KMS throttles, is slow or fails.
            UnusableKeyRingError: KMS refuses: the key is disabled, deleted or not permitted.
        """
        kind, signed = self._shortened(message) if len(message) > LONGEST_MESSAGE else ("RAW", message)
        with key_errors(), self._measured():
            response = call(
                self.aws,
                "kms",
                "Sign",
                KeyId=self.arn,
                Message=signed,
                MessageType=kind,
                SigningAlgorithm=SIGNING_ALGORITHM_SPECS[self.alg],
            )
        signature: bytes = response["Signature"]
        # KMS returns DER; RFC 7518, 3.4, defines a concatenation.
        return ecdsa_from_der(self.alg, signature) if self.alg.startswith("ES") else signature

    def _shortened(self, message: bytes) -> tuple[str, bytes]:
        if self.alg in ED25519_NAMES:
            raise MessageTooLongError
        if self.public_key:
            return "EXTERNAL_MU", external_mu(base64url.decode(self.public_key.encode()), message)
        return "DIGEST", digest(self.alg, message)

    @contextmanager
    def _measured(self) -> Iterator[None]:
        started = self.meter.timer()
        try:
            yield
        finally:
            milliseconds = round((self.meter.timer() - started) * 1000, 1)
            self.meter.record(KMS_SIGN_MILLISECONDS, milliseconds)


class SignerSource(Protocol):
    """Finds signers."""

    def current(self, now: float, alg: str) -> JwtSigner:
        """Return the signer whose key is current at `now`."""


class LocalSigners:
    """Signers with private keys from Secrets Manager, each created at its first use.

    The key ring decides which key signs, and a `kid` never changes its key. The private keys are read again only for a
    new key. A missing or broken one causes at most one read a second. A broken private key does not affect other keys.
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
        """Return the signer whose key is current at `now`.

        Raises:
            UnusableKeyRingError: no key may sign now, or its private key is not available.
        """
        return self.of(self._key_ring.signing_key(now, alg), now)

    def of(self, key: RingKey, now: float) -> JwtSigner:
        """Return the signer of one of the ring's keys.

        Raises:
            UnusableKeyRingError: its private key is not available.
        """
        return self._ready.get(key.kid) or self._made(key, now)

    def _made(self, key: RingKey, now: float) -> JwtSigner:
        with self._lock:
            if key.kid not in self._ready:
                self._ready[key.kid] = _signer(key, self._private_key(key.kid, now))
            return self._ready[key.kid]

    def _private_key(self, kid: str, now: float) -> str:
        if kid not in self._private_keys and abs(now - self._read_at) >= REREAD_SECONDS:
            self._read(now)
        # Removed, because a signer is created once and a broken key must be read again.
        pem = self._private_keys.pop(kid, None)
        if pem is None:
            raise UnusableKeyRingError(reason=f"the private key of {kid} is missing or broken")
        return pem

    def _read(self, now: float) -> None:
        with key_errors():
            self._private_keys = from_json(self._store.read(self._secret))
        self._read_at = now


class RingSigners:
    """Signers with private keys in Secrets Manager or KMS; a key ring may have both."""

    def __init__(
        self, key_ring: CachedKeyRing, store: SecretStore, secret: str, aws: Aws, meter: Meter | None = None
    ) -> None:
        self._key_ring = key_ring
        self._local = LocalSigners(key_ring, store, secret)
        self._aws = aws
        self._meter = meter or Meter()

    def prepare(self, now: float) -> None:
        """Read the key ring, and the private keys that sign now.

        Raises:
            UnusableKeyRingError, StorageUnavailableError: as `current`.
        """
        for alg in {key.alg for key in self._key_ring.current().keys}:
            self.current(now, alg)

    def current(self, now: float, alg: str) -> JwtSigner:
        """Return the signer whose key is current at `now`.

        Raises:
            UnusableKeyRingError: no key may sign now, or its private key is not available.
        """
        key = self._key_ring.signing_key(now, alg)
        if key.backend == IN_KMS:
            return JwtSigner(key.kid, key.alg, self._kms_signature(key))
        return self._local.of(key, now)

    def _kms_signature(self, key: RingKey) -> KmsSignature:
        return KmsSignature(self._aws, key.signer, key.alg, key.public_jwk.get("pub", ""), self._meter)


def _signer(key: RingKey, pem: str) -> JwtSigner:
    try:
        private_key = from_pem(pem)
        kid = thumbprint(to_public_jwk(private_key.public_key()))
    except ValueError:
        reason = f"the private key of {key.kid} cannot be read"
        raise UnusableKeyRingError(reason=reason) from None
    if kid != key.kid:
        raise UnusableKeyRingError(reason=f"the private key of {key.kid} is another key's")
    return JwtSigner(key.kid, key.alg, make_sign(key.alg, private_key))
