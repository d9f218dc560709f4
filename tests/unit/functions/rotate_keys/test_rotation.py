import json
from collections.abc import Callable
from dataclasses import replace

import jwt
import pytest

from authorizer.jwk_thumbprint import thumbprint
from functions.rotate_keys.handler import Settings, build
from functions.rotate_keys.key_backends import generate_key
from functions.rotate_keys.key_rotation import LONGEST_RUN, Rotator, SlowRotationError
from functions.shared.clients.supported import SIGNING_ALGORITHMS
from functions.shared.keys import key_ring, signing_keys
from functions.shared.keys.key_ring import KeyRing, UnusableKeyRingError
from functions.shared.keys.rotation import RETENTION_NEEDED, NewKey, announce, first_ring, prune
from functions.shared.storage.secrets_manager import SecretConflictError, SecretVersion
from tests.support.aws import ENVIRONMENT, KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemorySecrets
from tests.support.pyjwt_algorithms import algorithm
from tests.support.server import NOW, generate, key

DAY, HOUR = 86_400, 3_600
SETTINGS = Settings.from_env(ENVIRONMENT)
RULES = SETTINGS.rules()


class Numbered:
    """A generator of known keys, in order."""

    def __init__(self, first: int = 1) -> None:
        self.number = first - 1

    def __call__(self, alg: str) -> NewKey:
        self.number += 1
        return key(self.number, alg)


def _rotation(
    store: MemorySecrets, clock: ManualClock | None = None, make: Callable[[str], NewKey] = generate, **settings: str
) -> Rotator:
    return build(
        Settings.from_env({**ENVIRONMENT, **settings}), clock=clock or ManualClock(NOW), secrets=store, generate=make
    )


def _ring(store: MemorySecrets) -> KeyRing:
    return key_ring.from_json(store.texts[KEY_RING_SECRET])


def _private(store: MemorySecrets) -> set[str]:
    return set(signing_keys.from_json(store.texts[SIGNING_KEYS_SECRET]))


@pytest.mark.parametrize("alg", SIGNING_ALGORITHMS)
def test_each_algorithm_signs_verifiable_tokens(alg: str) -> None:
    new = generate_key(alg)
    ring = first_ring([new], NOW)
    token = jwt.encode({"a": 1}, signing_keys.from_pem(new.private_pem), alg)
    (jwk,) = ring.key_set(NOW)["keys"]
    assert jwk["alg"] == alg
    public_key = algorithm(alg).from_jwk(jwk)
    assert jwt.decode(token, public_key, algorithms=[alg]) == {"a": 1}
    assert new.kid == jwk["kid"] == thumbprint(new.public_jwk)
    assert "PRIVATE" not in repr(new)


def test_older_name_of_ed25519_is_replaced_at_the_next_rotation() -> None:
    """`EdDSA` and `Ed25519` are one algorithm: the setting names new keys only, and one key signs at a time."""
    store = MemorySecrets()
    _rotation(store, ALGORITHMS="EdDSA").run()
    (old,) = _ring(store).keys
    assert not _rotation(store, ManualClock(NOW + 60), ALGORITHMS="Ed25519").run().created
    clock = ManualClock(NOW + 29 * DAY)
    assert _rotation(store, clock, ALGORITHMS="Ed25519").run().created
    ring = _ring(store)
    assert [key.alg for key in ring.keys] == ["EdDSA", "Ed25519"]
    for name in ("EdDSA", "Ed25519"):
        assert ring.signing_key(clock.now, name).kid == old.kid
        assert ring.signing_key(clock.now + DAY, name).alg == "Ed25519"


def test_first_key_signs_at_once_and_without_a_successor() -> None:
    ring = first_ring([key()], NOW + 0.9)
    for moment in (NOW + 0.9, NOW + 3650 * DAY):
        assert ring.signing_key(moment, "RS256").kid == key().kid
    assert len(ring.published_keys(NOW)) == 1


def test_missing_ring_is_created_with_a_key_per_algorithm() -> None:
    store, keys = MemorySecrets(), [key(), key(1, "ES256")]
    assert _rotation(store, ALGORITHMS="RS256,ES256").run().created == tuple(each.kid for each in keys)
    assert _ring(store) == first_ring(keys, NOW)
    private = signing_keys.from_json(store.texts[SIGNING_KEYS_SECRET])
    assert private == {each.kid: each.private_pem for each in keys}
    published = json.loads(store.texts[KEY_RING_SECRET])["keys"]
    assert [entry["public_jwk"].keys() for entry in published] == [{"kty", "e", "n"}, {"kty", "crv", "x", "y"}]


def test_added_algorithm_is_announced_before_signing() -> None:
    store = MemorySecrets()
    _rotation(store).run()
    _rotation(store, ManualClock(NOW + 60), ALGORITHMS="RS256,ES256").run()
    with pytest.raises(UnusableKeyRingError):
        _ring(store).signing_key(NOW + DAY, "ES256")
    assert _ring(store).signing_key(NOW + 60 + DAY, "ES256").kid == key(1, "ES256").kid
    assert _ring(store).signing_key(NOW + 60 + DAY, "RS256").sign_until is None


def test_run_between_changes_writes_nothing() -> None:
    store = MemorySecrets()
    _rotation(store).run()
    before = dict(store.texts)
    for days in (0, 1, 28):
        report = _rotation(store, ManualClock(NOW + days * DAY + 60)).run()
        assert (report.created, report.dropped) == ((), ())
    assert store.texts == before


def test_key_passes_through_all_states() -> None:
    store, clock, make = MemorySecrets(), ManualClock(NOW), Numbered()
    rotation = _rotation(store, clock, make)
    rotation.run()
    announced_at = NOW + 29 * DAY
    clock.now = announced_at
    assert rotation.run().created == (key(2).kid,)
    old, new = _ring(store).keys
    signs_at = announced_at + DAY
    assert (new.publish_from, new.sign_from, new.sign_until) == (announced_at, signs_at, None)
    assert (old.sign_until, old.publish_until) == (signs_at, signs_at + 2 * DAY)
    assert _ring(store).signing_key(signs_at - 0.1, "RS256").kid == old.kid
    assert _ring(store).signing_key(signs_at, "RS256").kid == new.kid
    # The private key is deleted after its last use, the public key much later.
    clock.now = signs_at + 60
    assert rotation.run().deleted_private_halves == 0
    clock.now = signs_at + HOUR
    assert rotation.run().deleted_private_halves == 1
    assert _private(store) == {new.kid}
    assert old in _ring(store).published_keys(clock.now)
    clock.now = signs_at + 2 * DAY + HOUR
    assert rotation.run().dropped == (old.kid,)
    assert _ring(store).keys == (new,)


def test_late_run_extends_the_old_key() -> None:
    store, clock = MemorySecrets(), ManualClock(NOW)
    rotation = _rotation(store, clock, Numbered())
    rotation.run()
    clock.now = NOW + 400 * DAY
    rotation.run()
    assert _ring(store).signing_key(clock.now + DAY - 1, "RS256").kid == key(1).kid
    assert _ring(store).signing_key(clock.now + DAY, "RS256").kid == key(2).kid


def test_planned_times_survive_a_changed_setting() -> None:
    store, clock, make = MemorySecrets(), ManualClock(NOW), Numbered()
    _rotation(store, clock, make).run()
    clock.now += 29 * DAY
    _rotation(store, clock, make).run()
    before = _ring(store)
    _rotation(store, clock, make, KEY_RETIRE_HOURS="25", KEY_ANNOUNCE_HOURS="2").run()
    assert _ring(store) == before


def test_too_short_publication_is_extended() -> None:
    old = replace(first_ring([key()], NOW).keys[0], sign_until=NOW + HOUR, publish_until=NOW + 2 * HOUR)
    (stretched,) = prune(KeyRing((old,)), NOW).keys
    assert stretched.publish_until == NOW + HOUR + RETENTION_NEEDED


def test_key_without_successor_continues_to_sign() -> None:
    lonely = replace(first_ring([key()], NOW).keys[0], sign_until=NOW + 60, publish_until=NOW + 3 * DAY)
    ring = announce(KeyRing((lonely,)), key(2), RULES, NOW)
    assert ring.signing_key(NOW + 61, "RS256").kid == key(1).kid


class FailingSecrets(MemorySecrets):
    """A store that fails, or lets a concurrent write happen first, for one name."""

    def __init__(self, name: str, failure: Callable[[], None]) -> None:
        super().__init__()
        self.name = name
        self.failure = failure

    def replace(self, name: str, text: str, seen: SecretVersion | None) -> None:
        if name == self.name:
            self.failure()
        super().replace(name, text, seen)


def _break() -> None:
    raise OSError("no")


def test_private_key_is_written_before_the_ring() -> None:
    store = FailingSecrets(SIGNING_KEYS_SECRET, _break)
    with pytest.raises(OSError, match="no"):
        _rotation(store).run()
    assert KEY_RING_SECRET not in store.texts


def test_leftovers_of_a_crash_are_deleted() -> None:
    store, clock = FailingSecrets(KEY_RING_SECRET, _break), ManualClock(NOW)
    make = Numbered()
    with pytest.raises(OSError, match="no"):
        _rotation(store, clock, make).run()
    store.failure = lambda: None
    clock.now += 60
    assert _rotation(store, clock, make).run().created == (key(2).kid,)
    # Not at once: it may belong to a run that has not written its ring yet.
    assert _private(store) == {key(1).kid, key(2).kid}
    clock.now += HOUR
    assert _rotation(store, clock, make).run().deleted_private_halves == 1
    assert _private(store) == {key(2).kid}


@pytest.mark.parametrize("name", [KEY_RING_SECRET, SIGNING_KEYS_SECRET])
def test_concurrent_runs_announce_one_key(name: str) -> None:
    store, make = FailingSecrets(name, lambda: None), Numbered()

    def go_first() -> None:
        store.failure = lambda: None
        _rotation(store, ManualClock(NOW + 1), make).run()

    store.failure = go_first
    _rotation(store, ManualClock(NOW), make).run()
    (only,) = _ring(store).keys
    assert only.kid in _private(store)


def test_run_gives_up_after_repeated_conflicts() -> None:
    store = FailingSecrets(KEY_RING_SECRET, lambda: None)
    number = 0

    def interfere() -> None:
        nonlocal number
        number += 1
        store.texts[KEY_RING_SECRET] = key_ring.to_json(KeyRing(())) + " " * number

    store.failure = interfere
    with pytest.raises(SecretConflictError):
        _rotation(store).run()


def test_slow_run_does_not_announce_a_deleted_key() -> None:
    store, clock = MemorySecrets(), ManualClock(NOW)

    def slow(alg: str) -> NewKey:
        clock.now += LONGEST_RUN + 1
        return generate(alg)

    with pytest.raises(SlowRotationError):
        _rotation(store, clock, slow).run()
    assert KEY_RING_SECRET not in store.texts


def test_unreadable_ring_is_not_replaced() -> None:
    store = MemorySecrets(**{KEY_RING_SECRET: "{}"})
    with pytest.raises(UnusableKeyRingError):
        _rotation(store).run()
    assert store.texts == {KEY_RING_SECRET: "{}"}
