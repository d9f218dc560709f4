"""Key backends: new signing keys, and private keys in Secrets Manager or in KMS."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import floor
from typing import TYPE_CHECKING, Any, Protocol, cast

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from authorizer.aws import Aws
from authorizer.jws import ML_DSA

from ..shared.keys import signing_keys
from ..shared.keys.key_ring import RingKey
from ..shared.keys.rotation import NewKey
from ..shared.keys.signing_keys import to_pem, to_public_jwk
from ..shared.storage.aws_calls import call, ignoring
from ..shared.storage.dynamodb_items import reading
from ..shared.storage.errors import StorageError
from ..shared.storage.secrets_manager import SecretStore, SecretVersion, retrying_conflicts

if TYPE_CHECKING:
    from ..shared.keys.signing_keys import PrivateKey, PublicKey


ORPHAN_SECONDS = 3600
"""Minimum age at which an unused private key is deleted. A younger one may be about to be used."""

STACK_TAG = "gatehouse:stack"
"""The tag that ties a KMS key to its stack: roles may use the keys of their stack."""

PENDING_DAYS = 7
"""The shortest waiting period of KMS before a deletion, which can be cancelled until then."""

_PAUSES = (0.25, 0.5, 1.0, 2.0)
"""Seconds between attempts: KMS is eventually consistent."""

_NOT_FOUND = "NotFoundException"
_PUBLIC_EXPONENT = 65_537
_RSA_BITS = 2048

KEY_SPECS: Mapping[str, str] = {
    "RS256": "RSA_2048",
    "PS256": "RSA_2048",
    "ES256": "ECC_NIST_P256",
    "ES384": "ECC_NIST_P384",
    "Ed25519": "ECC_NIST_EDWARDS25519",
    "EdDSA": "ECC_NIST_EDWARDS25519",
    "ML-DSA-44": "ML_DSA_44",
    "ML-DSA-65": "ML_DSA_65",
    "ML-DSA-87": "ML_DSA_87",
}


def generate_key(alg: str) -> NewKey:
    """Generate a key for a supported algorithm. RFC 7518, 3.1, RFC 8037, 3.1, and RFC 9964, 5."""
    private_key = _generate_ml_dsa(alg) if alg in ML_DSA else _GENERATORS[alg]()
    return NewKey(alg, to_public_jwk(private_key.public_key()), to_pem(private_key))


def _generate_ml_dsa(alg: str) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric import mldsa

    return cast("PrivateKey", getattr(mldsa, f"MLDSA{alg[-2:]}PrivateKey").generate())


_generate_rsa = partial(rsa.generate_private_key, _PUBLIC_EXPONENT, _RSA_BITS)
_GENERATORS: Mapping[str, Callable[[], PrivateKey]] = {
    "RS256": _generate_rsa,
    "PS256": _generate_rsa,
    "ES256": partial(ec.generate_private_key, ec.SECP256R1()),
    "ES384": partial(ec.generate_private_key, ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


class KeyBackend(Protocol):
    """Creates and deletes private keys: Secrets Manager or KMS."""

    def create(self, alg: str, now: float) -> NewKey:
        """Create a key. Its private key is stored when this returns."""

    def delete_unused(self, needed: Collection[RingKey], now: float) -> int:
        """Delete private keys that are neither needed nor new; return their number."""


@dataclass(frozen=True, slots=True)
class SecretsManagerKeys:
    """Private keys in the signing keys secret, by `kid`."""

    secrets: SecretStore
    name: str
    generate: Callable[[str], NewKey] = generate_key

    def create(self, alg: str, now: float) -> NewKey:
        """Create a key. Its private key is stored when this returns."""
        key = self.generate(alg)

        def add(private_keys: dict[str, str], made_at: dict[str, int]) -> None:
            private_keys[key.kid] = key.private_pem
            made_at[key.kid] = floor(now)

        self._change(add)
        return key

    def delete_unused(self, needed: Collection[RingKey], now: float) -> int:
        """Delete private keys that are neither needed nor new; return their number."""
        private_keys, made_at, _ = self._read()
        unused = {kid for kid in private_keys if now - made_at.get(kid, 0) >= ORPHAN_SECONDS}
        unused -= {key.kid for key in needed}

        def delete(private_keys: dict[str, str], made_at: dict[str, int]) -> None:
            for kid in unused:
                private_keys.pop(kid, None)
                made_at.pop(kid, None)

        if unused:
            self._change(delete)
        return len(unused)

    def _read(self) -> tuple[dict[str, str], dict[str, int], SecretVersion | None]:
        version = self.secrets.read_version(self.name)
        text = version.text if version else None
        return signing_keys.from_json(text), signing_keys.times_from_json(text), version

    def _change(self, change: Callable[[dict[str, str], dict[str, int]], None]) -> None:
        """Change the private keys and their creation times, again after each concurrent change.

        Raises:
            SecretConflictError: other processes wrote the secret each time.
        """

        def write() -> None:
            private_keys, made_at, version = self._read()
            change(private_keys, made_at)
            self.secrets.replace(self.name, signing_keys.to_json(private_keys, made_at), version)

        retrying_conflicts(write)


@dataclass(frozen=True, slots=True)
class KmsKeys:
    """Asymmetric KMS keys, tagged with their stack and found by their aliases.

    A run that ends between creating a key and its alias leaves a key that only its tag finds.
    A lost response has the same effect, because the retry creates another key.
    """

    aws: Aws
    stack_name: str
    sleep: Callable[[float], None] = time.sleep

    def create(self, alg: str, now: float) -> NewKey:
        """Create a key in KMS and fetch its public key.

        Raises:
            StorageError: KMS refuses or is unavailable.
        """
        created = self._call(
            "CreateKey",
            KeySpec=KEY_SPECS[alg],
            KeyUsage="SIGN_VERIFY",
            Description=f"Signs {self.stack_name}'s {alg} tokens.",
            Tags=[{"TagKey": STACK_TAG, "TagValue": self.stack_name}],
        )["KeyMetadata"]
        key_id = created["KeyId"]
        # The alias exists if the response of a first attempt was lost.
        with ignoring("AlreadyExistsException"):
            self._call_when_known("CreateAlias", AliasName=self._prefix + key_id, TargetKeyId=key_id)
        der = self._call_when_known("GetPublicKey", KeyId=key_id)["PublicKey"]
        public_key = cast("PublicKey", load_der_public_key(der))
        return NewKey(alg, to_public_jwk(public_key), signer=created["Arn"])

    def _call(self, operation: str, **parameters: object) -> dict[str, Any]:
        return call(self.aws, "kms", operation, **parameters)

    def _call_when_known(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Call KMS until it knows a new key everywhere."""
        for pause in _PAUSES:
            try:
                return self._call(operation, **parameters)
            except StorageError as error:
                if error.code != _NOT_FOUND:
                    raise
                self.sleep(pause)
        return self._call(operation, **parameters)

    def delete_unused(self, needed: Collection[RingKey], now: float) -> int:
        """Schedule the deletion of keys that are neither needed nor new; return their number."""
        needed_ids = {key.signer.rpartition("/")[2] for key in needed}
        unused = [
            (alias, key_id)
            for alias, key_id in self._aliases()
            if key_id not in needed_ids and now - self._created_at(key_id) >= ORPHAN_SECONDS
        ]
        for alias, key_id in unused:
            # The alias is deleted last, so that an interrupted run is resumed.
            with ignoring("KMSInvalidStateException"):
                self._call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=PENDING_DAYS)
            with ignoring(_NOT_FOUND):
                self._call("DeleteAlias", AliasName=alias)
        return len(unused)

    def _created_at(self, key_id: str) -> float:
        created: float = self._call("DescribeKey", KeyId=key_id)["KeyMetadata"]["CreationDate"]
        return created

    @property
    def _prefix(self) -> str:
        return f"alias/{self.stack_name}-signing/"

    def _aliases(self) -> Iterator[tuple[str, str]]:
        """Yield the aliases of the stack and their keys."""
        start: dict[str, object] = {}
        while True:
            page = self._call("ListAliases", **start)
            with reading("an alias"):
                own = [alias for alias in page["Aliases"] if alias["AliasName"].startswith(self._prefix)]
                found = [(alias["AliasName"], alias["TargetKeyId"]) for alias in own]
            yield from found
            if "NextMarker" not in page:
                return
            start = {"Marker": page["NextMarker"]}
