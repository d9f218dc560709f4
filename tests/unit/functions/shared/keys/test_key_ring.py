import json
from typing import Any

import pytest

from authorizer.jwk_thumbprint import thumbprint
from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import (
    FRESH_SECONDS,
    CachedKeyRing,
    KeyRing,
    RingKey,
    UnusableKeyRingError,
    from_json,
    to_json,
)
from tests.support.aws import KEY_RING_SECRET
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemorySecrets
from tests.support.server import NOW, key, ring, secrets

RFC_7638_KEY = {
    "kty": "RSA",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP"
        "ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY"
        "368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0f"
        "M4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    ),
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}


def _key(number: int = 1, **changes: Any) -> RingKey:
    new = key(number)
    times = {"publish_from": NOW - 500, "sign_from": NOW - 100} | changes
    return RingKey(kid=new.kid, alg=new.alg, public_jwk=new.public_jwk, **times)


def test_thumbprint_is_that_of_rfc_7638_3_1() -> None:
    assert thumbprint(RFC_7638_KEY) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_thumbprint_of_an_elliptic_curve_key_uses_its_own_members() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    # RFC 8037, appendix A.3
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    ("publish_from", "publish_until", "published"),
    [(NOW, None, True), (NOW + 1, None, False), (NOW - 1, NOW + 1, True), (NOW - 1, NOW, False)],
)
def test_key_is_published_between_its_times(publish_from: int, publish_until: int | None, *, published: bool) -> None:
    known = _key(publish_from=publish_from, publish_until=publish_until)
    assert (known in KeyRing((known,)).published_keys(NOW)) is published


@pytest.mark.parametrize(
    ("changes", "signs"),
    [
        ({"sign_from": NOW}, True),
        ({"sign_from": NOW + 1}, False),
        ({"sign_until": NOW + 1}, True),
        ({"sign_until": NOW}, False),
        ({"publish_from": NOW + 1}, False),
        ({"publish_until": NOW}, False),
    ],
)
def test_key_signs_between_its_times(changes: dict[str, int], *, signs: bool) -> None:
    known = KeyRing((_key(**changes),))
    if signs:
        assert known.signing_key(NOW, "RS256") is known.keys[0]
    else:
        with pytest.raises(UnusableKeyRingError, match="no RS256 key"):
            known.signing_key(NOW, "RS256")


def test_newest_due_key_signs() -> None:
    old, new, future = _key(1), _key(2, sign_from=NOW - 1), _key(3, sign_from=NOW + 1)
    for keys in ((old, new, future), (future, new, old)):
        assert KeyRing(keys).signing_key(NOW, "RS256") is new


def test_equal_times_are_ordered_by_id() -> None:
    one, two = _key(1), _key(2)
    first, second = KeyRing((one, two)), KeyRing((two, one))
    assert first.signing_key(NOW, "RS256") is second.signing_key(NOW, "RS256")


def test_key_of_another_algorithm_does_not_sign() -> None:
    with pytest.raises(UnusableKeyRingError, match="no ES256 key"):
        ring().signing_key(NOW, "ES256")


def test_published_key_has_use_and_alg() -> None:
    (jwk,) = ring().key_set(NOW)["keys"]
    assert jwk == {
        "kty": "RSA",
        "kid": key().kid,
        "use": "sig",
        "alg": "RS256",
        "e": "AQAB",
        "n": key().public_jwk["n"],
    }


def test_private_members_are_never_published() -> None:
    leaky = {**key().public_jwk, "d": "private", "p": "private", "key_ops": "sign"}
    ring_key = RingKey(kid=key().kid, alg="RS256", public_jwk=leaky, publish_from=NOW, sign_from=NOW)
    assert "private" not in json.dumps(KeyRing((ring_key,)).key_set(NOW))
    document = json.loads(to_json(ring()))
    document["keys"][0]["public_jwk"] = leaky
    assert "private" not in repr(from_json(json.dumps(document)))


def test_key_id_must_be_the_thumbprint() -> None:
    with pytest.raises(ValueError, match="thumbprint"):
        RingKey(kid="mine", alg="RS256", public_jwk=key().public_jwk, publish_from=1, sign_from=1)


def test_ring_round_trips() -> None:
    known = KeyRing((_key(1), _key(2, sign_until=NOW + 1, publish_until=NOW + 2)))
    assert from_json(to_json(known)) == known


def test_stored_format_is_stable() -> None:
    assert json.loads(to_json(ring())) == {
        "version": 1,
        "keys": [
            {
                "kid": key().kid,
                "alg": "RS256",
                "public_jwk": key().public_jwk,
                "publish_from": NOW,
                "sign_from": NOW,
                "sign_until": None,
                "publish_until": None,
                "signer": "secrets-manager",
            }
        ],
    }


def _broken(**changes: object) -> str:
    document = json.loads(to_json(ring()))
    document["keys"][0] |= changes
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[]",
        "{}",
        '{"version": 2, "keys": []}',
        '{"version": 1, "keys": [{}]}',
        '{"version": 1, "keys": 1}',
        _broken(kid="other"),
        _broken(public_jwk={"kty": "oct", "k": "c2VjcmV0"}),
        _broken(sign_from="soon"),
        _broken(sign_from=None),
        _broken(publish_until=True),
    ],
)
def test_unreadable_ring_is_unusable(text: str | None) -> None:
    with pytest.raises(UnusableKeyRingError):
        from_json(text)


def test_ring_is_cached_for_thirty_seconds() -> None:
    store, clock = secrets(), ManualClock()
    warm = CachedKeyRing(store, KEY_RING_SECRET, clock)
    for _ in range(100):
        assert warm.current() == ring()
    assert store.reads == [KEY_RING_SECRET]
    store.write(KEY_RING_SECRET, key_ring.to_json(ring(key(1), key(2))))
    clock.now += FRESH_SECONDS
    assert len(warm.current().keys) == 2


def test_absent_ring_is_not_cached() -> None:
    store = MemorySecrets()
    warm = CachedKeyRing(store, KEY_RING_SECRET, ManualClock())
    with pytest.raises(UnusableKeyRingError, match="rotate_keys makes one"):
        warm.current()
    store.write(KEY_RING_SECRET, key_ring.to_json(ring()))
    assert warm.current() == ring()
