from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from functions.shared.keys import key_ring, signing_keys
from functions.shared.keys.key_ring import UnusableKeyRingError
from functions.shared.keys.signers import LocalSigners
from functions.shared.keys.warm_key_ring import WarmKeyRing
from tests.support.aws import KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.memory_stores import ManualClock, MemorySecrets
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


def test_private_keys_that_the_ring_does_not_name_are_ignored() -> None:
    store = secrets(key(1), key(2))
    store.write(KEY_RING_SECRET, key_ring.to_json(ring(key(1))))
    assert _signers(store, ManualClock(NOW)).current(NOW, "RS256").kid == key(1).kid


def test_a_signer_does_not_show_its_key() -> None:
    signer = _signers(secrets(), ManualClock(NOW)).current(NOW, "RS256")
    assert "RSAPrivateKey" not in repr(signer)
