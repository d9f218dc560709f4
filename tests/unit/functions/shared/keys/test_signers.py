import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import jwt
import pytest

from functions.shared.keys import key_ring, signing_keys
from functions.shared.keys.key_ring import CachedKeyRing, UnusableKeyRingError
from functions.shared.keys.signers import LocalSigners
from functions.shared.storage.errors import StorageError, StorageUnavailableError
from tests.support.aws import KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemorySecrets
from tests.support.mutations import mutations
from tests.support.server import NOW, key, ring, secrets


def _signers(store: MemorySecrets, clock: ManualClock) -> LocalSigners:
    return LocalSigners(CachedKeyRing(store, KEY_RING_SECRET, clock), store, SIGNING_KEYS_SECRET)


def test_typ_is_optional() -> None:
    signer = _signers(secrets(), ManualClock()).current(NOW, "RS256")
    header = jwt.get_unverified_header(signer.sign({}, "at+jwt"))
    assert header == {"alg": "RS256", "kid": key().kid, "typ": "at+jwt"}


def test_signing_keys_are_read_once() -> None:
    store, clock = secrets(), ManualClock(NOW)
    signers = _signers(store, clock)
    for _ in range(100):
        clock.now += 60
        signers.current(clock.now, "RS256")
    assert store.reads.count(SIGNING_KEYS_SECRET) == 1


def test_many_threads_read_the_signing_keys_once() -> None:
    store = secrets()
    signers = _signers(store, ManualClock(NOW))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: signers.current(NOW, "RS256"), range(16)))
    assert store.reads.count(SIGNING_KEYS_SECRET) == 1


def test_new_ring_key_causes_one_read() -> None:
    store, clock = secrets(key(1)), ManualClock(NOW)
    signers = _signers(store, clock)
    signers.current(clock.now, "RS256")
    newer = secrets(key(2), now=NOW + 10)
    store.texts |= newer.texts
    clock.now += 60
    for _ in range(3):
        assert signers.current(clock.now, "RS256").kid == key(2).kid
    assert store.reads.count(SIGNING_KEYS_SECRET) == 2


def test_missing_private_key_is_read_once_a_second() -> None:
    store, clock = secrets(), ManualClock(NOW)
    store.write(SIGNING_KEYS_SECRET, signing_keys.to_json({}))
    signers = _signers(store, clock)
    for moment, reads in ((0, 1), (0.5, 1), (0.99, 1), (1, 2), (1.5, 2)):
        clock.now = NOW + moment
        with pytest.raises(UnusableKeyRingError, match=r"private key of .* is missing"):
            signers.current(clock.now, "RS256")
        assert store.reads.count(SIGNING_KEYS_SECRET) == reads


def test_late_private_key_is_found() -> None:
    store, clock = secrets(), ManualClock(NOW)
    complete = store.texts[SIGNING_KEYS_SECRET]
    del store.texts[SIGNING_KEYS_SECRET]
    signers = _signers(store, clock)
    with pytest.raises(UnusableKeyRingError):
        signers.current(clock.now, "RS256")
    store.write(SIGNING_KEYS_SECRET, complete)
    clock.now += 1
    assert signers.current(clock.now, "RS256").kid == key().kid


def test_mismatched_private_key_never_signs() -> None:
    store = secrets()
    swapped = {key(1).kid: key(2).private_pem}
    store.write(SIGNING_KEYS_SECRET, signing_keys.to_json(swapped))
    with pytest.raises(UnusableKeyRingError, match="another key's"):
        _signers(store, ManualClock(NOW)).current(NOW, "RS256")


BROKEN = {
    "no PEM": "not a key",
    "not ASCII": "é",
    "a public key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    "encrypted": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
}


@pytest.mark.parametrize("pem", BROKEN.values(), ids=BROKEN)
def test_invalid_private_key_is_named_without_content(pem: str) -> None:
    store, clock = secrets(), ManualClock(NOW)
    complete = store.texts[SIGNING_KEYS_SECRET]
    store.write(SIGNING_KEYS_SECRET, signing_keys.to_json({key().kid: pem}))
    signers = _signers(store, clock)
    for _ in range(3):
        with pytest.raises(UnusableKeyRingError, match=key().kid) as error:
            signers.current(clock.now, "RS256")
        assert error.value.__cause__ is None
        assert pem not in str(error.value)
    assert store.reads.count(SIGNING_KEYS_SECRET) == 1
    store.write(SIGNING_KEYS_SECRET, complete)
    clock.now += 1
    assert signers.current(clock.now, "RS256").kid == key().kid


def test_invalid_private_key_affects_no_other() -> None:
    store = secrets(key(1), key(1, "ES256"))
    private_keys = {key(1).kid: "not a key", key(1, "ES256").kid: key(1, "ES256").private_pem}
    store.write(SIGNING_KEYS_SECRET, signing_keys.to_json(private_keys))
    signers = _signers(store, ManualClock(NOW))
    with pytest.raises(UnusableKeyRingError, match="cannot be read"):
        signers.current(NOW, "RS256")
    assert signers.current(NOW, "ES256").kid == key(1, "ES256").kid


class RefusingSecrets(MemorySecrets):
    """A store that denies access to one of its secrets."""

    refused: str = ""
    failure: StorageError = StorageError(reason="GetSecretValue: AccessDeniedException")

    def read(self, name: str) -> str | None:
        if name == self.refused:
            raise self.failure
        return super().read(name)


@pytest.mark.parametrize("refused", [KEY_RING_SECRET, SIGNING_KEYS_SECRET])
def test_denied_secret_is_an_unusable_ring(refused: str) -> None:
    store = RefusingSecrets(**secrets().texts)
    store.refused = refused
    signers = _signers(store, ManualClock(NOW))
    with pytest.raises(UnusableKeyRingError, match="AccessDenied"):
        signers.current(NOW, "RS256")
    store.failure = StorageUnavailableError("throttled")
    with pytest.raises(StorageUnavailableError):
        signers.current(NOW, "RS256")
    store.refused = ""
    assert signers.current(NOW, "RS256").kid == key().kid


@pytest.mark.parametrize("secret", [KEY_RING_SECRET, SIGNING_KEYS_SECRET])
def test_malformed_secret_is_unusable_or_signs(secret: str) -> None:
    texts, signed, (jwk,) = secrets().texts, 0, ring().key_set(NOW)["keys"]
    for _, changed in mutations(json.loads(texts[secret])):
        store = MemorySecrets(**texts | {secret: json.dumps(changed)})
        with suppress(UnusableKeyRingError):
            token = _signers(store, ManualClock(NOW)).current(NOW, "RS256").sign({}, None)
            assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=["RS256"]) == {}
            signed += 1
    assert signed


def test_unnamed_private_keys_are_ignored() -> None:
    store = secrets(key(1), key(2))
    store.write(KEY_RING_SECRET, key_ring.to_json(ring(key(1))))
    assert _signers(store, ManualClock(NOW)).current(NOW, "RS256").kid == key(1).kid


def test_signer_repr_hides_the_key() -> None:
    signer = _signers(secrets(), ManualClock(NOW)).current(NOW, "RS256")
    assert "RSAPrivateKey" not in repr(signer)
