"""Private halves that never leave KMS."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, cast

from cryptography.hazmat.primitives.serialization import load_der_public_key

from functions.rotate_keys.key_generation import NewKey, to_public_jwk
from functions.rotate_keys.private_halves import ORPHAN_SECONDS
from functions.shared.storage.aws_errors import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from jwt.algorithms import AllowedPublicKeys
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_kms.literals import KeySpecType
    from mypy_boto3_kms.type_defs import AliasListEntryTypeDef

    from functions.shared.keys.key_ring import RingKey

T = TypeVar("T")

STACK_TAG: Final = "gatehouse:stack"
"""The tag that ties a key to its stack: roles may use keys with their own stack's name in it."""

PENDING_DAYS: Final = 7
"""KMS waits at least so long with a deletion, which can be cancelled until then."""

_PAUSES: Final = (0.25, 0.5, 1.0, 2.0)
"""Seconds between attempts: KMS is eventually consistent."""

KEY_SPECS: Final[Mapping[str, KeySpecType]] = {
    "RS256": "RSA_2048",
    "PS256": "RSA_2048",
    "ES256": "ECC_NIST_P256",
    "EdDSA": "ECC_NIST_EDWARDS25519",
}


@dataclass(frozen=True, slots=True)
class KmsHalves:
    """Asymmetric KMS keys, tagged with their stack and found by an alias each.

    A run that ends between making a key and naming it leaves a key that only its tag finds, and so
    does a lost answer, after which boto3 makes another one.
    """

    kms: KMSClient
    stack_name: str
    sleep: Callable[[float], None] = time.sleep

    def create(self, alg: str, now: float) -> NewKey:
        """Make a key in KMS and fetch its public half.

        Raises:
            StorageError: KMS refuses or is unavailable.
        """
        with storage_errors():
            made = self.kms.create_key(
                KeySpec=KEY_SPECS[alg],
                KeyUsage="SIGN_VERIFY",
                Description=f"Signs {self.stack_name}'s {alg} tokens.",
                Tags=[{"TagKey": STACK_TAG, "TagValue": self.stack_name}],
            )["KeyMetadata"]
            key_id = made["KeyId"]
            alias = self._prefix + key_id
            # Of a key that was made just now: there already after an answer that was lost.
            with suppress(self.kms.exceptions.AlreadyExistsException):
                self._known(lambda: self.kms.create_alias(AliasName=alias, TargetKeyId=key_id))
            der = self._known(lambda: self.kms.get_public_key(KeyId=key_id))["PublicKey"]
        public_key = cast("AllowedPublicKeys", load_der_public_key(der))
        return NewKey(alg, to_public_jwk(alg, public_key), signer=made["Arn"])

    def _known(self, ask: Callable[[], T]) -> T:
        """Ask about a new key until KMS knows it everywhere."""
        for pause in _PAUSES:
            try:
                return ask()
            except self.kms.exceptions.NotFoundException:
                self.sleep(pause)
        return ask()

    def tidy(self, needed: Collection[RingKey], now: float) -> int:
        """Schedule the deletion of keys that are not needed and not new; return how many."""
        needed_ids = {key.signer.rpartition("/")[2] for key in needed}
        with storage_errors():
            idle = [
                alias
                for alias in self._aliases()
                if alias["TargetKeyId"] not in needed_ids
                and self._age(alias, now) >= ORPHAN_SECONDS
            ]
            for alias in idle:
                # The alias goes last, so that a run that ends between the two is resumed.
                with suppress(self.kms.exceptions.KMSInvalidStateException):
                    self.kms.schedule_key_deletion(
                        KeyId=alias["TargetKeyId"], PendingWindowInDays=PENDING_DAYS
                    )
                with suppress(self.kms.exceptions.NotFoundException):
                    self.kms.delete_alias(AliasName=alias["AliasName"])
        return len(idle)

    def _age(self, alias: AliasListEntryTypeDef, now: float) -> float:
        key = self.kms.describe_key(KeyId=alias["TargetKeyId"])["KeyMetadata"]
        return now - key["CreationDate"].timestamp()

    @property
    def _prefix(self) -> str:
        return f"alias/{self.stack_name}-signing/"

    def _aliases(self) -> Iterator[AliasListEntryTypeDef]:
        for page in self.kms.get_paginator("list_aliases").paginate():
            for alias in page["Aliases"]:
                if alias["AliasName"].startswith(self._prefix):
                    yield alias
