from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import jwt
import pytest

from functions.shared.keys import key_ring, signing_keys
from functions.shared.keys.key_ring import UnusableKeyRingError
from functions.shared.keys.signers import LocalSigners
from functions.shared.keys.warm_key_ring import WarmKeyRing
from functions.shared.storage.errors import (
    StorageError,
    StorageUnavailableError,
)
from tests.support.aws import KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.memory_stores import ManualClock, MemorySecrets
from tests.support.mutations import mutations
from tests.support.server import NOW, key, ring, secrets


def _signers(store: MemorySecrets, clock: ManualClock) -> LocalSigners:
    return LocalSigners(WarmKeyRing(store, KEY_RING_SECRET, clock), store, SIGNING_KEYS_SECRET)


def test_pyjwt_verifies_what_is_signed() -> None:
    signer = _signers(secrets(), ManualClock()).current(NOW, "RS256")
    token = signer.sign({"sub": "a"}, None)
    (jwk,) = ring().key_set(NOW)["keys"]
    assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=["RS256"]) == {"sub": "a"}
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": key().kid}


def test_a_type_is_in_the_header_only_if_there_is_one() -> None:
    signer = _signers(secrets(), ManualClock()).current(NOW, "RS256")
    header = jwt.get_unverified_header(signer.sign({}, "at+jwt"))
    assert header == {"alg": "RS256", "kid": key().kid, "typ": "at+jwt"}


def test_signing_keys_are_read_once_however_long_the_process_lives() -> None:
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


def test_a_key_that_comes_into_the_ring_causes_one_more_read_and_signs() -> None:
    store, clock = secrets(key(1)), ManualClock(NOW)
    signers = _signers(store, clock)
    signers.current(clock.now, "RS256")
    newer = secrets(key(2), now=NOW + 10)
    store.texts |= newer.texts
    clock.now += 60
    for _ in range(3):
        assert signers.current(clock.now, "RS256").kid == key(2).kid
    assert store.reads.count(SIGNING_KEYS_SECRET) == 2


def test_a_missing_private_half_is_looked_for_once_a_second() -> None:
    store, clock = secrets(), ManualClock(NOW)
    store.write(SIGNING_KEYS_SECRET, signing_keys.to_json({}))
    signers = _signers(store, clock)
    for moment, reads in ((0, 1), (0.5, 1), (0.99, 1), (1, 2), (1.5, 2)):
        clock.now = NOW + moment
        with pytest.raises(UnusableKeyRingError, match=r"private half .* is missing"):
            signers.current(clock.now, "RS256")
        assert store.reads.count(SIGNING_KEYS_SECRET) == reads


def test_a_private_half_that_arrives_late_is_found() -> None:
    store, clock = secrets(), ManualClock(NOW)
    complete = store.texts[SIGNING_KEYS_SECRET]
    del store.texts[SIGNING_KEYS_SECRET]
    signers = _signers(store, clock)
    with pytest.raises(UnusableKeyRingError):
        signers.current(clock.now, "RS256")
    store.write(SIGNING_KEYS_SECRET, complete)
    clock.now += 1
    assert signers.current(clock.now, "RS256").kid == key().kid


def test_a_private_half_of_another_key_never_signs() -> None:
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
def test_a_broken_private_half_is_named_and_not_quoted(pem: str) -> None:
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


def test_a_broken_private_half_stops_no_other_key() -> None:
    store = secrets(key(1), key(1, "ES256"))
    halves = {key(1).kid: "not a key", key(1, "ES256").kid: key(1, "ES256").private_pem}
    store.write(SIGNING_KEYS_SECRET, signing_keys.to_json(halves))
    signers = _signers(store, ManualClock(NOW))
    with pytest.raises(UnusableKeyRingError, match="cannot be read"):
        signers.current(NOW, "RS256")
    assert signers.current(NOW, "ES256").kid == key(1, "ES256").kid


class RefusingSecrets(MemorySecrets):
    """A store that refuses to give out one of its secrets."""

    refused: str = ""
    trouble: StorageError = StorageError(reason="GetSecretValue: AccessDeniedException")

    def read(self, name: str) -> str | None:
        if name == self.refused:
            raise self.trouble
        return super().read(name)


@pytest.mark.parametrize("refused", [KEY_RING_SECRET, SIGNING_KEYS_SECRET])
def test_a_secret_that_is_refused_is_an_unusable_ring_and_one_that_is_slow_is_not(
    refused: str,
) -> None:
    store = RefusingSecrets(**secrets().texts)
    store.refused = refused
    signers = _signers(store, ManualClock(NOW))
    with pytest.raises(UnusableKeyRingError, match="AccessDenied"):
        signers.current(NOW, "RS256")
    store.trouble = StorageUnavailableError("throttled")
    with pytest.raises(StorageUnavailableError):
        signers.current(NOW, "RS256")
    store.refused = ""
    assert signers.current(NOW, "RS256").kid == key().kid


@pytest.mark.parametrize("secret", [KEY_RING_SECRET, SIGNING_KEYS_SECRET])
def test_a_secret_with_something_wrong_in_it_is_unusable_or_its_key_signs(secret: str) -> None:
    texts, signed, (jwk,) = secrets().texts, 0, ring().key_set(NOW)["keys"]
    for _, changed in mutations(json.loads(texts[secret])):
        store = MemorySecrets(**texts | {secret: json.dumps(changed)})
        with suppress(UnusableKeyRingError):
            token = _signers(store, ManualClock(NOW)).current(NOW, "RS256").sign({}, None)
            assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=["RS256"]) == {}
            signed += 1
    assert signed


def test_private_keys_that_the_ring_does_not_name_are_ignored() -> None:
    store = secrets(key(1), key(2))
    store.write(KEY_RING_SECRET, key_ring.to_json(ring(key(1))))
    assert _signers(store, ManualClock(NOW)).current(NOW, "RS256").kid == key(1).kid


def test_a_signer_does_not_show_its_key() -> None:
    signer = _signers(secrets(), ManualClock(NOW)).current(NOW, "RS256")
    assert "RSAPrivateKey" not in repr(signer)
