from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jwt
import pytest

from functions.rotate_keys.composition import build
from functions.rotate_keys.key_generation import generate_key, generate_rsa_key
from functions.rotate_keys.key_store import KeyStore
from functions.rotate_keys.rotation import first_ring
from functions.rotate_keys.settings import Settings
from functions.shared import key_ring, signing_keys
from functions.shared.client_record import SIGNING_ALGORITHMS
from functions.shared.key_ring import UnusableKeyRingError, thumbprint
from tests.support.aws import ENVIRONMENT, KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.memory_stores import ManualClock, MemorySecrets
from tests.support.server import NOW, key

if TYPE_CHECKING:
    from functions.rotate_keys.rotator import Rotator

SETTINGS = Settings.from_env(ENVIRONMENT)


def _rotation(store: MemorySecrets, now: float = NOW) -> Rotator:
    return build(SETTINGS, clock=ManualClock(now), secrets=store, generate=key)


def test_a_generated_key_is_named_by_its_thumbprint_and_hides_its_private_half() -> None:
    new = generate_rsa_key()
    assert new.kid == thumbprint(new.public_jwk)
    assert new.public_jwk.keys() == {"kty", "e", "n"}
    assert signing_keys.from_pem(new.private_pem).key_size == 2048  # type: ignore[union-attr]
    assert "PRIVATE" not in repr(new)


@pytest.mark.parametrize("alg", SIGNING_ALGORITHMS)
def test_a_key_of_each_algorithm_signs_what_the_published_half_verifies(alg: str) -> None:
    new = generate_key(alg)
    ring = first_ring(new, NOW)
    token = jwt.encode({"a": 1}, signing_keys.from_pem(new.private_pem), alg)
    (jwk,) = ring.key_set(NOW)["keys"]
    assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=[alg]) == {"a": 1}
    assert new.kid == jwk["kid"]


def test_the_first_key_is_published_and_signs_at_once() -> None:
    ring = first_ring(key(), NOW + 0.9)
    assert ring.signing_key(NOW + 0.9, "RS256").kid == key().kid
    assert len(ring.published_keys(NOW)) == 1


def test_the_first_key_goes_on_signing_if_no_successor_ever_comes() -> None:
    ten_years = 10 * 365 * 86_400
    assert first_ring(key(), NOW).signing_key(NOW + ten_years, "RS256").kid == key().kid


def test_a_ring_is_made_where_there_is_none() -> None:
    store = MemorySecrets()
    assert _rotation(store).run() == {"created": key().kid}
    ring = key_ring.from_json(store.texts[KEY_RING_SECRET])
    assert ring == first_ring(key(), NOW)
    private_keys = signing_keys.from_json(store.texts[SIGNING_KEYS_SECRET])
    assert private_keys == {key().kid: key().private_pem}


def test_a_second_run_changes_nothing() -> None:
    store = MemorySecrets()
    _rotation(store).run()
    before = dict(store.texts)
    assert _rotation(store, NOW + 60).run() == {"created": None}
    assert store.texts == before


def test_no_private_key_gets_into_the_ring() -> None:
    store = MemorySecrets()
    _rotation(store).run()
    (jwk,) = [entry["public_jwk"] for entry in json.loads(store.texts[KEY_RING_SECRET])["keys"]]
    assert jwk.keys() == {"kty", "e", "n"}


class FailsToWrite(MemorySecrets):
    """Fails when one name is written."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def write(self, name: str, text: str) -> None:
        if name == self.name:
            raise OSError("no")
        super().write(name, text)


def test_the_ring_never_names_a_key_whose_private_half_is_not_written_yet() -> None:
    store = FailsToWrite(SIGNING_KEYS_SECRET)
    with pytest.raises(OSError, match="no"):
        _rotation(store).run()
    assert KEY_RING_SECRET not in store.texts


def test_a_run_after_one_that_broke_off_keeps_what_was_written() -> None:
    store = FailsToWrite(KEY_RING_SECRET)
    with pytest.raises(OSError, match="no"):
        _rotation(store).run()
    store.name = ""
    other = build(SETTINGS, clock=ManualClock(NOW), secrets=store, generate=lambda: key(2))
    assert other.run() == {"created": key(2).kid}
    private_keys = signing_keys.from_json(store.texts[SIGNING_KEYS_SECRET])
    assert private_keys.keys() == {key(1).kid, key(2).kid}


def test_a_ring_that_cannot_be_read_is_not_replaced() -> None:
    store = MemorySecrets(**{KEY_RING_SECRET: "{}"})
    with pytest.raises(UnusableKeyRingError):
        _rotation(store).run()
    assert store.texts == {KEY_RING_SECRET: "{}"}


def test_an_absent_ring_reads_as_none() -> None:
    assert KeyStore(MemorySecrets(), KEY_RING_SECRET, SIGNING_KEYS_SECRET).ring() is None
