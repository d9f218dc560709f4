"""Planned key operations reject no valid token, in any order."""

from hypothesis import example, given
from hypothesis import strategies as st

from functions.rotate_keys.handler import Settings, build
from functions.rotate_keys.key_backends import SecretsManagerKeys
from functions.rotate_keys.key_rotation import RingStore
from functions.shared.clients.client import LONGEST_TOKEN_LIFETIME
from functions.shared.keys.cached_key_ring import STALE_SECONDS
from functions.shared.keys.key_ring import KeyRing
from functions.shared.keys.rotation import NewKey, RotationRules
from infra.cli.errors import CommandError
from infra.cli.key_operations import KeyOperations
from tests.support.aws import ENVIRONMENT, KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.memory_stores import ManualClock, MemorySecrets
from tests.support.server import NOW, key

MINUTE, HOUR = 60, 3_600


class Operator:
    """An operator, the rotator, and every signature that a process may have made."""

    def __init__(self) -> None:
        self.clock, self.secrets, self.made = ManualClock(NOW), MemorySecrets(), 0
        environ = Settings.from_env(ENVIRONMENT)
        self.rules: RotationRules = environ.rules()
        self.rotator = build(environ, clock=self.clock, secrets=self.secrets, generate=self._generate)
        self.store = RingStore(self.secrets, KEY_RING_SECRET)
        halves = SecretsManagerKeys(self.secrets, SIGNING_KEYS_SECRET, self._generate)
        self.operations = KeyOperations(self.store, halves, self.rules, self.clock)
        self.last_signed: dict[str, float] = {}
        self.known: list[tuple[float, KeyRing]] = []
        self.rotator.run()
        self.watch()

    def _generate(self, alg: str) -> NewKey:
        self.made += 1
        return key(self.made % 8, alg)

    @property
    def ring(self) -> KeyRing:
        return self.store.read().ring

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
                self.rotator.run()
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
