"""Signs with keys that never leave KMS, through PyJWT's interface for algorithms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NoReturn

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from jwt.algorithms import Algorithm
from jwt.utils import der_to_raw_signature

from functions.shared.runtime.aws_clients import aws_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_kms import KMSClient
    from mypy_boto3_kms.literals import SigningAlgorithmSpecType

LONGEST_MESSAGE: Final = 4096
"""Bytes that KMS digests itself. https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html"""

_SPECS: Final[Mapping[str, SigningAlgorithmSpecType]] = {
    "RS256": "RSASSA_PKCS1_V1_5_SHA_256",
    "PS256": "RSASSA_PSS_SHA_256",
    "ES256": "ECDSA_SHA_256",
}
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class OnlySignsError(TypeError):
    """Raised when something else than a signature is asked of a key in KMS."""


class KmsAlgorithm(Algorithm):
    """A JWS algorithm whose keys are ARNs of KMS keys. It only signs. RFC 7518, 3."""

    def __init__(self, kms: KMSClient, alg: str) -> None:
        self._kms = kms
        self._alg = alg

    def prepare_key(self, key: str) -> str:
        """Return the key's ARN."""
        return key

    def sign(self, msg: bytes, key: str) -> bytes:
        """Return a signature in the form of RFC 7518.

        Raises:
            TemporarilyUnavailableError: KMS throttles, is slow or fails.
            ServerError: it refuses.
        """
        raw = len(msg) <= LONGEST_MESSAGE
        with aws_errors():
            signature = self._kms.sign(
                KeyId=key,
                Message=msg if raw else sha256(msg).digest(),
                MessageType="RAW" if raw else "DIGEST",
                SigningAlgorithm=_SPECS[self._alg],
            )["Signature"]
        # KMS gives the pair of numbers in DER, RFC 7518, 3.4, wants them one after the other.
        return der_to_raw_signature(signature, SECP256R1()) if self._alg == "ES256" else signature

    def verify(self, msg: bytes, key: str, sig: bytes) -> NoReturn:  # noqa: ARG002
        """Not here: public keys are published, and checking a signature needs no KMS."""
        raise OnlySignsError

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> NoReturn:  # noqa: ANN401, ARG004, FBT001, FBT002 - PyJWT's
        """Not here: the ring has the public half."""
        raise OnlySignsError

    @staticmethod
    def from_jwk(jwk: str | dict[str, Any]) -> NoReturn:  # noqa: ARG004
        """Not here: a private half never leaves KMS."""
        raise OnlySignsError


class KmsWriter:
    """Writes JWTs that KMS signs."""

    def __init__(self, kms: KMSClient) -> None:
        self._kms = kms

    @cached_property
    def jws(self) -> jwt.PyJWS:
        """PyJWT's writer, with KMS in the place of every algorithm."""
        writer = jwt.PyJWS()
        for alg in writer.get_algorithms():
            writer.unregister_algorithm(alg)
        for alg in _SPECS:
            writer.register_algorithm(alg, KmsAlgorithm(self._kms, alg))
        return writer


@dataclass(frozen=True, slots=True)
class KmsSigner:
    """Signs with one KMS key."""

    kid: str
    alg: str
    arn: str
    writer: KmsWriter

    def sign(self, claims: Mapping[str, object], typ: str | None) -> str:
        """Return a signed JWT, `typ` in its header unless None.

        Raises:
            OAuthError: as `KmsAlgorithm.sign`.
        """
        headers = {"kid": self.kid, "typ": typ}
        return self.writer.jws.encode(_encode(claims).encode(), self.arn, self.alg, headers)
