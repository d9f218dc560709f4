"""Signs with keys that never leave KMS, through PyJWT's interface for algorithms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from jwt.algorithms import Algorithm
from jwt.utils import der_to_raw_signature

from authorizer.metrics import Meter
from functions.shared.keys.key_ring import key_errors
from functions.shared.storage.aws import storage_errors
from functions.shared.web.metrics import KMS_SIGN_MILLISECONDS

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_kms.literals import SigningAlgorithmSpecType


LONGEST_MESSAGE: Final = 4096
"""Bytes that KMS takes as a raw message. https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html"""

SIGNING_ALGORITHM_SPECS: Final[Mapping[str, SigningAlgorithmSpecType]] = {
    "RS256": "RSASSA_PKCS1_V1_5_SHA_256",
    "PS256": "RSASSA_PSS_SHA_256",
    "ES256": "ECDSA_SHA_256",
    "EdDSA": "ED25519_SHA_512",
}


class MessageTooLongError(ValueError):
    """Raised when KMS cannot sign a message: Ed25519 signs the message itself, not a digest."""


class OnlySignsError(TypeError):
    """Raised for operations other than signing."""


class KmsAlgorithm(Algorithm):
    """A JWS algorithm whose keys are ARNs of KMS keys. It only signs. RFC 7518, 3."""

    def __init__(self, kms: KMSClient, alg: str, meter: Meter | None = None) -> None:
        self._kms = kms
        self._alg = alg
        self._meter = meter or Meter()

    def prepare_key(self, key: str) -> str:
        """Return the key's ARN."""
        return key

    def sign(self, msg: bytes, key: str) -> bytes:
        """Return a signature in the form of RFC 7518.

        Raises:
            MessageTooLongError: for EdDSA, it is longer than KMS takes.
            StorageUnavailableError: KMS throttles, is slow or fails.
            UnusableKeyRingError: KMS refuses: the key is disabled, deleted or not permitted.
        """
        raw = len(msg) <= LONGEST_MESSAGE
        if not raw and self._alg == "EdDSA":
            raise MessageTooLongError
        with key_errors(), storage_errors(), self._measured():
            signature = self._kms.sign(
                KeyId=key,
                Message=msg if raw else sha256(msg).digest(),
                MessageType="RAW" if raw else "DIGEST",
                SigningAlgorithm=SIGNING_ALGORITHM_SPECS[self._alg],
            )["Signature"]
        # KMS returns DER; RFC 7518, 3.4, defines a concatenation.
        return der_to_raw_signature(signature, SECP256R1()) if self._alg == "ES256" else signature

    @contextmanager
    def _measured(self) -> Iterator[None]:
        started = self._meter.timer()
        try:
            yield
        finally:
            milliseconds = round((self._meter.timer() - started) * 1000, 1)
            self._meter.record(KMS_SIGN_MILLISECONDS, milliseconds)

    def verify(self, msg: bytes, key: str, sig: bytes) -> NoReturn:
        """Not supported: verifiers use the published public key."""
        raise OnlySignsError

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> NoReturn:  # noqa: FBT001, FBT002 - PyJWT's
        """Not supported: the key ring has the public key."""
        raise OnlySignsError

    @staticmethod
    def from_jwk(jwk: str | dict[str, Any]) -> NoReturn:
        """Not supported: a private key never leaves KMS."""
        raise OnlySignsError
