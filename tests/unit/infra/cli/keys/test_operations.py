from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authorizer.claims import LEEWAY
from functions.rotate_keys.handler import Settings, build
from functions.rotate_keys.key_backends import SecretsManagerKeys
from functions.rotate_keys.key_rotation import RingStore
from functions.shared.keys import signing_keys
from functions.shared.keys.key_ring import STALE_SECONDS, KeyRing, UnusableKeyRingError
from functions.shared.keys.rotation import (
    CLOCK_SKEW,
    PROPAGATION_SECONDS,
    RETENTION_NEEDED,
    NewKey,
    RotationRules,
    replace_at_once,
)
from functions.shared.lifetimes import LONGEST_TOKEN_LIFETIME
from functions.shared.storage.secrets_manager import SecretConflictError, SecretVersion
from infra.cli.errors import CommandError, ConflictError
from infra.cli.key_operations import KeyOperations, find_key
from tests.support.aws import ENVIRONMENT, KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemorySecrets
from tests.support.server import NOW, key

MINUTE, HOUR, DAY = 60, 3_600, 86_400


class Authority:
    """A ring in memory, its rotator and its operator."""

    def __init__(self, store: MemorySecrets | None = None) -> None:
        self.secrets = store or MemorySecrets()
        self.clock = ManualClock(NOW)
        self.made = 0
        settings = Settings.from_env(ENVIRONMENT)
        self.rotation = build(settings, clock=self.clock, secrets=self.secrets, generate=self._generate)
        self.store = RingStore(self.secrets, KEY_RING_SECRET)
        key_backend = SecretsManagerKeys(self.secrets, SIGNING_KEYS_SECRET, self._generate)
        self.operations = KeyOperations(self.store, key_backend, settings.rules(), self.clock)
        self.rotation.run()

    def _generate(self, alg: str) -> NewKey:
        self.made += 1
        return key((self.made - 1) % 8 + 1, alg)

    @property
    def ring(self) -> KeyRing:
        return self.store.read().ring

    def signing(self) -> str:
        return self.ring.signing_key(self.clock(), "RS256").kid

    def published(self) -> set[str]:
        return {known.kid for known in self.ring.published_keys(self.clock())}

    def private(self) -> set[str]:
        return set(signing_keys.from_json(self.secrets.read(SIGNING_KEYS_SECRET)))


@pytest.fixture
def authority() -> Authority:
    return Authority()


def test_old_tokens_survive_emergency_rotation(authority: Authority) -> None:
    authority.clock.now += HOUR
    kid = authority.operations.rotate_at_once("RS256")
    assert authority.signing() == kid == key(2).kid
    assert authority.published() == {key(1).kid, key(2).kid}
    # Until the last token of a process that was slow to learn of it has expired.
    authority.clock.now += DAY + PROPAGATION_SECONDS
    assert key(1).kid in authority.published()
    authority.clock.now += 2 * DAY
    authority.rotation.run()
    assert authority.published() == {key(2).kid}
    assert authority.private() == {key(2).kid}


def test_tokens_of_a_stale_ring_stay_valid() -> None:
    rules = RotationRules(signing=2 * DAY, announcing=2 * HOUR, retiring=RETENTION_NEEDED, verifier_cache=300)
    ring = replace_at_once(KeyRing((key(1).to_ring_key(NOW, NOW),)), key(2), NOW + HOUR, rules)
    last_signature = NOW + HOUR + STALE_SECONDS
    for clock_ahead in (0, CLOCK_SKEW):
        expires = last_signature + LONGEST_TOKEN_LIFETIME + LEEWAY + clock_ahead
        assert find_key(ring, key(1).kid).is_published(expires)


def test_emergency_rotation_drops_announced_keys(authority: Authority) -> None:
    authority.clock.now += 29 * DAY
    authority.rotation.run()
    assert key(2).kid in authority.published()
    kid = authority.operations.rotate_at_once("RS256")
    assert authority.published() == {key(1).kid, kid}
    authority.clock.now += 2 * DAY
    assert authority.signing() == kid


def test_revoked_key_and_private_key_are_deleted(authority: Authority) -> None:
    authority.clock.now += HOUR
    authority.operations.rotate_at_once("RS256")
    authority.operations.revoke(key(1).kid)
    assert authority.published() == {key(2).kid}
    authority.rotation.run()
    assert authority.private() == {key(2).kid}


def test_only_signing_key_cannot_be_revoked(authority: Authority) -> None:
    with pytest.raises(CommandError, match="Rotate first"):
        authority.operations.revoke(key(1).kid)
    assert authority.signing() == key(1).kid


def test_revoked_successor_reopens_its_predecessor(authority: Authority) -> None:
    authority.clock.now += 29 * DAY
    authority.rotation.run()
    assert authority.operations.revocation_breaks(key(2).kid)[0].startswith("Nothing")
    authority.operations.revoke(key(2).kid)
    authority.clock.now += 10 * DAY
    assert authority.signing() == key(1).kid
    assert authority.rotation.run().created == (key(3).kid,)


def test_earliest_breakage_is_listed_first(authority: Authority) -> None:
    rotation = authority.operations.rotation_breaks("RS256")
    assert rotation[0].startswith("First, for 30 seconds")
    assert "the key set may lack the new key" in rotation[1]
    assert rotation[2].startswith("Both take up to 300 seconds")
    assert "3900 seconds" in rotation[3]
    revocation = authority.operations.revocation_breaks(key(1).kid)
    assert revocation[1] == "First, within 30 seconds, by introspection."
    assert revocation[2].endswith("within 300 seconds.")
    assert "up to 3600 seconds" in revocation[4]


class Contended(MemorySecrets):
    """Secrets in which another process acts once, before the first write of the key ring."""

    act: Callable[[], object] | None = None

    def replace(self, name: str, text: str, seen: SecretVersion | None) -> None:
        if name == KEY_RING_SECRET and self.act:
            act, self.act = self.act, None
            act()
        super().replace(name, text, seen)


def test_operator_and_rotator_may_write_at_once() -> None:
    store = Contended()
    authority = Authority(store)

    def rotate() -> None:
        authority.clock.now += 29 * DAY
        authority.rotation.run()

    store.act = rotate
    kid = authority.operations.rotate_at_once("RS256")
    # The rotator announced a key in between; it was deleted, and the operator's signs.
    assert authority.signing() == kid
    authority.clock.now += 2 * DAY
    assert authority.signing() == kid


@pytest.mark.parametrize("ahead", [0, CLOCK_SKEW])
def test_second_operator_adds_no_key(ahead: int) -> None:
    kids: list[str] = []
    store = Contended()
    authority = Authority(store)

    def rotate() -> None:
        authority.clock.now += ahead
        kids.append(authority.operations.rotate_at_once("RS256"))
        authority.clock.now -= ahead

    store.act = rotate
    with pytest.raises(ConflictError, match="at the same moment"):
        authority.operations.rotate_at_once("RS256")
    authority.clock.now += ahead
    assert [authority.signing()] == kids


def test_operator_gives_up_after_conflicts(authority: Authority) -> None:
    class Busy(MemorySecrets):
        def replace(self, name: str, text: str, seen: SecretVersion | None) -> None:
            if name == KEY_RING_SECRET:
                raise SecretConflictError
            super().replace(name, text, seen)

    busy = Busy(**authority.secrets.texts)
    operations = KeyOperations(
        RingStore(busy, KEY_RING_SECRET),
        SecretsManagerKeys(busy, SIGNING_KEYS_SECRET, authority._generate),
        authority.operations.rules,
        authority.clock,
    )
    with pytest.raises(SecretConflictError):
        operations.rotate_at_once("RS256")


def test_unreadable_ring_is_not_changed() -> None:
    authority = Authority()
    authority.secrets.write(KEY_RING_SECRET, "{}")
    with pytest.raises(UnusableKeyRingError):
        authority.operations.revoke("any")


class Operator(Authority):
    """An operator, the rotator, and every signature that a process may have made."""

    def __init__(self) -> None:
        super().__init__()
        self.last_signed: dict[str, float] = {}
        self.known: list[tuple[float, KeyRing]] = []
        self.watch()

    def watch(self) -> None:
        """Note who signs now, in processes that know the ring and in those that cannot ask."""
        now, ring = self.clock(), self.ring
        self.known = [each for each in self.known if each[0] >= now - STALE_SECONDS]
        self.known.append((now, ring))
        for _, seen in self.known:
            self.last_signed[seen.signing_key(now, "RS256").kid] = now
        published = {each.kid for each in ring.published_keys(now)}
        for kid, moment in self.last_signed.items():
            if now < moment + LONGEST_TOKEN_LIFETIME:
                assert kid in published, f"{kid} signed {now - moment} s ago"

    def attempt(self, act: str) -> None:
        try:
            if act == "rotate":
                self.operations.announce("RS256")
            elif act == "run":
                self.rotation.run()
            else:
                keys = self.ring.keys
                self.operations.retire(keys[int(act) % len(keys)].kid)
        except CommandError:
            return


ACTS = st.sampled_from(["rotate", "run", "0", "1", "2", "3"])
PAUSES = st.sampled_from([1, 29, 31, 299, 301, 10 * MINUTE, HOUR, 6 * HOUR, 23 * HOUR + 55 * MINUTE])


# Taken back within the minutes in which other processes may still know it, and would sign.
@example([("rotate", 23 * HOUR + 55 * MINUTE), ("run", 31), ("1", 299)])
@given(st.lists(st.tuples(ACTS, PAUSES), min_size=1, max_size=25))
def test_planned_operations_reject_no_valid_token(story: list[tuple[str, int]]) -> None:
    operator = Operator()
    for act, pause in story:
        operator.attempt(act)
        operator.watch()
        operator.clock.now += pause
        operator.watch()
