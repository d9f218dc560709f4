"""Rotation under random schedules: early, late, concurrent and interrupted runs.

The real rotation runs on stores in memory, with cheap key pairs. A simulated world records every signer at every
change. There are fresh rings, stale rings, wrong clocks, and the oldest key set that a cache may have.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import count, pairwise
from math import floor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authorizer.claims import LEEWAY
from functions.rotate_keys.handler import Settings, build
from functions.shared.keys import key_ring, signing_keys
from functions.shared.keys.key_ring import FRESH_SECONDS, JWKS_MAX_AGE, STALE_SECONDS, KeyRing, RingKey
from functions.shared.keys.rotation import PROPAGATION_SECONDS, RETENTION_NEEDED, NewKey, RotationRules
from functions.shared.lifetimes import LONGEST_TOKEN_LIFETIME
from functions.shared.storage.secrets_manager import SecretVersion
from tests.support.aws import ENVIRONMENT, KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.memory_stores import MemorySecrets
from tests.support.server import NOW

MINUTE, HOUR, DAY = 60, 3_600, 86_400
SKEW = 25
"""The largest error of a clock: two clocks differ by less than CLOCK_SKEW."""


OFFSETS = (
    *(-SKEW - 1, -1, 0, 1),
    *(offset for age in (FRESH_SECONDS, STALE_SECONDS) for offset in (age - 1, SKEW + age)),
    10 * MINUTE,
)
"""Seconds around a change, before and after each cache has noticed it."""


class CrashError(Exception):
    """The process has crashed."""


class Store(MemorySecrets):
    """A store in which every access can fail or be interrupted."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self.world = world
        self.failure: dict[int, Callable[[], None]] = {}
        self.accesses = 0

    def read(self, name: str) -> str | None:
        self._access()
        return super().read(name)

    def replace(self, name: str, text: str, seen: SecretVersion | None) -> None:
        self._access()
        super().replace(name, text, seen)
        self.world.remember()
        self._access()

    def _access(self) -> None:
        self.accesses += 1
        failure = self.failure.pop(self.accesses, None)
        if failure:
            failure()


class UncheckedRules(RotationRules):
    """Rules without validation."""

    def __post_init__(self) -> None:
        pass


class UncheckedSettings(Settings):
    """Settings that may be unsafe."""

    def rules(self) -> RotationRules:
        return UncheckedRules(
            signing=int(self.key_signing_days) * DAY,
            announcing=int(self.key_announce_hours) * HOUR,
            retiring=int(self.key_retire_hours) * HOUR,
            verifier_cache=int(self.verifier_cache_seconds),
        )


class ShortestSettings(Settings):
    """The shortest times that the rules allow."""

    def rules(self) -> RotationRules:
        cache = int(self.verifier_cache_seconds)
        return RotationRules(
            signing=2 * DAY,
            announcing=JWKS_MAX_AGE + cache + PROPAGATION_SECONDS,
            retiring=RETENTION_NEEDED,
            verifier_cache=cache,
        )


class ForgetfulSettings(ShortestSettings):
    """Times that are safe only if no process uses a stale ring."""

    def rules(self) -> RotationRules:
        times = asdict(super().rules())
        return UncheckedRules(**times | {"announcing": times["announcing"] - (STALE_SECONDS - FRESH_SECONDS)})


@dataclass
class World:
    """The true time, the store, and every value that was ever current."""

    read: type[Settings] = Settings
    now: float = float(NOW)
    environ: dict[str, str] = field(default_factory=dict)
    rings: list[tuple[float, KeyRing]] = field(default_factory=list)
    private: list[tuple[float, frozenset[str]]] = field(default_factory=list)
    caches: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numbers = count(1)
        self.store = Store(self)
        self.configure({})

    def configure(self, environ: dict[str, str]) -> None:
        self.environ = environ
        cache = int(environ.get("VERIFIER_CACHE_SECONDS", "3600"))
        self.caches.append((self.now, cache))

    def remember(self) -> None:
        texts = self.store.texts
        if KEY_RING_SECRET in texts:
            self.rings.append((self.now, key_ring.from_json(texts[KEY_RING_SECRET])))
        kids = frozenset(signing_keys.from_json(texts.get(SIGNING_KEYS_SECRET)))
        self.private.append((self.now, kids))

    def rotate(self, skew: float) -> None:
        """Run the real rotation; creating a key takes time."""
        offset = skew

        def generate(alg: str) -> NewKey:
            self.now += 2
            number = next(self.numbers)
            modulus = urlsafe_b64encode(number.to_bytes(256, "big")).decode().rstrip("=")
            return NewKey(alg, {"kty": "RSA", "n": modulus, "e": "AQAB"}, f"private {number}")

        build(
            self.read.from_env({**ENVIRONMENT, **self.environ}),
            clock=lambda: self.now + offset,
            secrets=self.store,
            generate=generate,
        ).run()

    def ring_at(self, moment: float) -> KeyRing | None:
        """Return the ring that was current then."""
        return next((ring for since, ring in reversed(self.rings) if since <= moment), None)

    def moments(self) -> Iterator[float]:
        """Yield the time of every change, and the times around it."""
        until = self.now
        changes = {since for since, _ in self.rings} | {until}
        for _, ring in self.rings:
            for key in ring.keys:
                times = (key.publish_from, key.sign_from, key.sign_until, key.publish_until)
                changes |= {float(time) for time in times if time is not None}
        for change in sorted(changes):
            for offset in OFFSETS:
                if self.rings[0][0] <= change + offset <= until:
                    yield change + offset


@dataclass(frozen=True)
class Run:
    wait: int
    skew: int
    crash_at: int | None
    rival_at: int | None
    rival_skew: int
    environ: dict[str, str] | None


SETTINGS_CHANGES = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {
            "KEY_SIGNING_DAYS": st.integers(2, 60).map(str),
            "KEY_ANNOUNCE_HOURS": st.integers(2, 48).map(str),
            "KEY_RETIRE_HOURS": st.integers(25, 200).map(str),
            "VERIFIER_CACHE_SECONDS": st.integers(300, 3600).map(str),
            "ALGORITHMS": st.sampled_from(["RS256", "RS256,PS256"]),
        }
    ),
)
RUNS = st.lists(
    st.builds(
        Run,
        wait=st.one_of(
            st.sampled_from([0, 1, 59, HOUR, DAY, 2 * DAY, 28 * DAY, 30 * DAY, 90 * DAY]), st.integers(0, 40 * DAY)
        ),
        skew=st.integers(-SKEW, SKEW),
        crash_at=st.one_of(st.none(), st.integers(1, 24)),
        rival_at=st.one_of(st.none(), st.integers(1, 24)),
        rival_skew=st.integers(-SKEW, SKEW),
        environ=SETTINGS_CHANGES,
    ),
    min_size=1,
    max_size=14,
)


# Accesses of a run that creates a key: 1 reads the ring, 2 the private keys. 3 and 4 are before and
# after their write, 5 and 6 before and after the ring's. A concurrent run adds its own.
DUE = 29 * DAY
LOST_HALF = [Run(DUE, 0, 12, 3, 0, None), Run(DAY, 0, None, None, 0, None)]
"""A concurrent run writes private keys after this run's read, then this run crashes."""


def _crash() -> None:
    raise CrashError


def simulate(runs: list[Run], read: type[Settings] = Settings) -> World:
    """Simulate all runs."""
    world = World(read)
    world.rotate(0)
    for run in runs:
        world.now += run.wait
        if run.environ is not None:
            world.configure(run.environ)
        store = world.store
        store.accesses, store.failure = 0, {}
        if run.rival_at is not None:
            store.failure[run.rival_at] = lambda skew=run.rival_skew: world.rotate(skew)  # type: ignore[misc]
        if run.crash_at is not None and run.crash_at != run.rival_at:
            store.failure[run.crash_at] = _crash
        try:
            world.rotate(run.skew)
        except CrashError:
            continue
    world.now += 3 * DAY
    return world


def _signers(world: World, moment: float, alg: str) -> Iterator[tuple[float, RingKey]]:
    """Yield each signer's clock and key, with fresh and stale rings and clock errors."""
    for age in (0, FRESH_SECONDS, STALE_SECONDS):
        ring = world.ring_at(moment - age)
        for skew in (-SKEW, SKEW):
            if ring is not None and any(key.may_sign(moment + skew) for key in ring.keys):
                yield moment + skew, ring.signing_key(moment + skew, alg)


@example(runs=LOST_HALF)
@given(runs=RUNS)
def test_no_schedule_rejects_a_valid_token(runs: list[Run]) -> None:
    check_that_no_valid_token_is_rejected(simulate(runs))


@given(runs=RUNS)
def test_shortest_allowed_times_are_safe(runs: list[Run]) -> None:
    check_that_no_valid_token_is_rejected(simulate([replace(run, environ=None) for run in runs], ShortestSettings))


def check_that_no_valid_token_is_rejected(world: World) -> None:
    first = {key.kid for key in world.rings[0][1].keys}
    last_use: dict[str, int] = {}
    for moment in world.moments():
        if moment < NOW + SKEW:
            continue  # the very first seconds of a stack
        for clock, key in _signers(world, moment, "RS256"):
            # It can sign: its private key exists, also for a cold start.
            stored_ids = next(kids for since, kids in reversed(world.private) if since <= moment)
            assert key.kid in stored_ids, "the private key of a current key was deleted"
            assert key.kid in first or _oldest_cache_knows(world, key, moment), "unknown key"
            expires = floor(clock) + LONGEST_TOKEN_LIFETIME
            last_use[key.kid] = max(expires, last_use.get(key.kid, 0))
    assert last_use, "no key has signed"
    for kid, expires in last_use.items():
        _stays_published(world, kid, expires + LEEWAY + SKEW)


def _oldest_cache_knows(world: World, key: RingKey, moment: float) -> bool:
    """Return True if the oldest allowed key set, from a slow clock, has the key."""
    cache = next(cache for since, cache in reversed(world.caches) if since <= moment)
    fetched = moment - JWKS_MAX_AGE - cache
    ring = world.ring_at(fetched - STALE_SECONDS)
    if ring is None:
        return True  # no cache had fetched anything yet
    return any(k.kid == key.kid for k in ring.published_keys(fetched - SKEW))


def _stays_published(world: World, kid: str, until: float) -> None:
    """Check that a publisher with a fast clock publishes the key to the end."""
    versions = [*world.rings, (world.now, world.rings[-1][1])]
    appeared = False
    for (since, ring), (end, _) in pairwise(versions):
        key = next((key for key in ring.keys if key.kid == kid), None)
        appeared = appeared or key is not None
        if appeared and since < until:
            assert key is not None, "a key was dropped while its tokens count"
            if key.publish_until is not None:
                assert key.publish_until >= min(until, end) + SKEW or key.publish_until >= until


@given(runs=RUNS)
def test_every_schedule_leaves_one_key_without_leftovers(runs: list[Run]) -> None:
    world = simulate(runs)
    world.configure({})
    for _ in range(3):
        world.store.accesses, world.store.failure = 0, {}
        world.rotate(0)
        world.now += 4 * DAY
    ring = world.rings[-1][1]
    endless = [key for key in ring.keys if key.sign_until is None and key.alg == "RS256"]
    assert len(endless) == 1
    needed = {key.kid for key in ring.keys if key.sign_until is None or key.sign_until > world.now}
    assert needed <= world.private[-1][1]
    # Leftovers of a crash were deleted, except for keys that retired in the last days.
    assert len(world.private[-1][1]) <= len(needed) + 2


@pytest.mark.parametrize(
    ("read", "unsafe"),
    [
        (UncheckedSettings, {"KEY_ANNOUNCE_HOURS": "1"}),
        (UncheckedSettings, {"KEY_RETIRE_HOURS": "1"}),
        (ForgetfulSettings, {}),
    ],
    ids=["announced too late", "withdrawn too early", "old rings forgotten"],
)
def test_simulation_detects_unsafe_times(read: type[Settings], unsafe: dict[str, str]) -> None:
    # This proves that the simulation can fail.
    waits = [0, 29 * DAY, 2 * DAY, 30 * DAY, 2 * DAY]
    world = simulate([Run(wait, 0, None, None, 0, unsafe) for wait in waits], read)
    with pytest.raises(AssertionError):
        check_that_no_valid_token_is_rejected(world)
