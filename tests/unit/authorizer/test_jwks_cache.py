"""The key set cache, with a fake clock and counted fetches."""

from collections.abc import Mapping
from threading import Barrier, Thread

import pytest

from authorizer.cache import Lifetime
from authorizer.clock import Clock, Clocks, Deadline
from authorizer.errors import InvalidTokenError, KeySetUnavailableError, Reason
from authorizer.https_client import HttpExchangeError, Response
from authorizer.jwk import KeySet, VerificationKey
from authorizer.jwks_cache import BundledJwks, JwksCache
from tests.support.clock import ManualClock
from tests.support.tokens import NOW

LIFETIME = Lifetime(fresh_for=300, stale_for=3600)


def _parse(raw: bytes) -> KeySet:
    """Parse key ids separated by spaces, instead of a JWKS."""
    if raw == b"<html>":
        raise KeySetUnavailableError(Reason.KEY_SET_MALFORMED)
    kids = raw.decode().split()
    good = [kid for kid in kids if not kid.startswith("weak")]
    return KeySet(
        {kid: VerificationKey(kid, frozenset({"RS256"}), 256, lambda *_: None) for kid in good},
        {kid: Reason.KEY_SIZE for kid in kids if kid not in good},
        (),
    )


class Issuer:
    """A JWKS endpoint that counts its requests."""

    def __init__(self, kids: str = "one") -> None:
        self.kids = kids
        self.status = 200
        self.headers: Mapping[str, str] = {}
        self.down = False
        self.fetches = 0
        self.etags: list[str | None] = []

    def fetch(self, etag: str | None, _deadline: Deadline) -> Response:
        self.fetches += 1
        self.etags.append(etag)
        if self.down:
            raise HttpExchangeError("down")
        if etag is not None and etag == self.headers.get("etag"):
            return Response(304, self.headers, b"")
        return Response(self.status, self.headers, self.kids.encode())


class Sandbox:
    """A cache with its issuer and its clock."""

    def __init__(self, kids: str = "one", *, seed: BundledJwks | None = None, monotonic: Clock | None = None) -> None:
        self.clock = ManualClock()
        self.issuer = Issuer(kids)
        self.noted: list[str] = []
        self.cache = JwksCache(
            self.issuer.fetch,
            _parse,
            Clocks(self.clock, monotonic or self.clock),
            lifetime=LIFETIME,
            bundled=seed,
            jitter=lambda: 0,
            record=lambda metric: self.noted.append(metric.name),
        )

    def find(self, kid: str, *, issued_at: float | None = None) -> VerificationKey:
        return self.cache.find(kid, Deadline(1, self.clock), known_subject_iat=issued_at)

    def refusal(self, kid: str, *, issued_at: float | None = None) -> Reason:
        with pytest.raises(InvalidTokenError) as refused:
            self.find(kid, issued_at=issued_at)
        return refused.value.reason

    def is_unavailable(self, kid: str) -> bool:
        with pytest.raises(KeySetUnavailableError):
            self.find(kid)
        return True


def test_one_fetch_serves_later_lookups() -> None:
    sandbox = Sandbox()
    key = sandbox.find("one")
    for _ in range(1000):
        sandbox.clock.advance(0.2)
        assert sandbox.find("one") is key
    assert sandbox.issuer.fetches == 1


def test_prepared_key_set_serves_the_first_lookup() -> None:
    sandbox = Sandbox()
    for _ in range(2):
        sandbox.cache.prepare(Deadline(1, sandbox.clock))
    assert sandbox.find("one").kid == "one"
    assert sandbox.issuer.fetches == 1
    assert sandbox.refusal("unknown") is Reason.KID_UNKNOWN
    assert sandbox.issuer.fetches == 2, "no cool-down was started"


def test_failed_preparation_delays_no_fetch() -> None:
    sandbox = Sandbox()
    sandbox.issuer.down = True
    with pytest.raises(KeySetUnavailableError):
        sandbox.cache.prepare(Deadline(1, sandbox.clock))
    sandbox.issuer.down = False
    assert sandbox.find("one").kid == "one"


def test_fetches_failures_and_stale_uses_are_counted() -> None:
    sandbox = Sandbox()
    sandbox.find("one")
    sandbox.find("one")
    assert sandbox.noted == ["KeySetFetches"]
    sandbox.clock.advance(LIFETIME.fresh_for)
    sandbox.find("one")
    assert sandbox.noted == ["KeySetFetches"] * 2
    sandbox.noted.clear()
    sandbox.issuer.down = True
    sandbox.clock.advance(LIFETIME.fresh_for)
    sandbox.find("one")
    assert sandbox.noted == ["KeySetFetches", "KeySetFetchFailures", "StaleKeySetUses"]
    sandbox.noted.clear()
    sandbox.clock.advance(LIFETIME.stale_for)
    assert sandbox.is_unavailable("one")
    assert sandbox.noted == ["KeySetFetches", "KeySetFetchFailures"]


def test_91_flood_with_known_subjects_gets_one_more_fetch() -> None:
    sandbox = Sandbox()
    for number in range(1000):
        sandbox.clock.advance(0.01)
        sandbox.refusal(f"random-{number}", issued_at=sandbox.clock.now)
    assert sandbox.issuer.fetches == 2


def test_91_flood_before_the_first_token_is_limited() -> None:
    sandbox = Sandbox()
    for number in range(1000):
        sandbox.refusal(f"random-{number}")
    assert sandbox.issuer.fetches == 1
    sandbox.find("one")
    assert sandbox.issuer.fetches == 1


def test_unknown_key_id_refetches_after_cool_down() -> None:
    sandbox = Sandbox()
    sandbox.refusal("new")
    sandbox.issuer.kids = "one new"
    sandbox.clock.advance(29)
    assert sandbox.refusal("new") is Reason.KID_UNKNOWN
    sandbox.clock.advance(1)
    assert sandbox.find("new").kid == "new"
    assert sandbox.issuer.fetches == 2


def test_waiting_too_long_is_key_set_unavailable() -> None:
    sandbox = Sandbox()
    with sandbox.cache._cache._locks.acquire(None, 0), pytest.raises(KeySetUnavailableError):
        sandbox.cache.find("one", Deadline(0.001))
    assert sandbox.issuer.fetches == 0


def test_unknown_key_id_after_failed_fetch_is_an_error() -> None:
    sandbox = Sandbox()
    sandbox.find("one")
    sandbox.issuer.down = True
    assert sandbox.is_unavailable("new")
    assert sandbox.is_unavailable("new")
    assert sandbox.find("one").kid == "one"
    assert sandbox.issuer.fetches == 2
    sandbox.issuer.down = False
    sandbox.clock.advance(1)
    assert sandbox.refusal("new") is Reason.KID_UNKNOWN


def test_94_new_key_works_right_after_a_fetch() -> None:
    sandbox = Sandbox()
    sandbox.find("one")
    sandbox.issuer.kids = "one new"
    assert sandbox.find("new").kid == "new"
    sandbox.issuer.kids = "one new newer"
    assert sandbox.find("newer").kid == "newer"
    assert sandbox.issuer.fetches == 3


def test_old_token_does_not_use_the_reserved_fetch() -> None:
    sandbox = Sandbox()
    sandbox.refusal("random")
    assert sandbox.refusal("old", issued_at=sandbox.clock.now - 1) is Reason.KID_UNKNOWN
    assert sandbox.issuer.fetches == 1


def test_95_unchanged_set_is_revalidated_by_304() -> None:
    sandbox = Sandbox()
    sandbox.issuer.headers = {"etag": '"v1"'}
    key = sandbox.find("one")
    sandbox.clock.advance(300)
    assert sandbox.find("one") is key
    assert sandbox.issuer.etags == [None, '"v1"']
    assert sandbox.cache.freshness() == ("fresh", 0)


def test_95_equal_body_reuses_the_key_objects() -> None:
    sandbox = Sandbox()
    key = sandbox.find("one")
    sandbox.clock.advance(300)
    assert sandbox.find("one") is key
    assert sandbox.issuer.fetches == 2


@pytest.mark.parametrize(
    ("cache_control", "age", "soft_age"),
    [
        ("", "", 300),
        ("max-age=120", "", 120),
        ("public, MAX-AGE=120", "", 120),
        ("max-age=0", "", 60),
        ("no-store", "", 60),
        ("no-cache, max-age=200", "", 60),
        ("max-age=315360000", "", 300),
        ("max-age=" + "9" * 400, "", 300),
        ("max-age=-1", "", 300),
        ("max-age=soon", "", 300),
        ("s-maxage=100", "", 300),
        (',=,max-age="5",max-age', "", 300),
        ("max-age=250", "100", 150),
        ("max-age=600", "400", 60),
        ("", "100", 200),
        ("", "9" * 400, 60),
        ("", "-100", 300),
        ("", "old", 300),
    ],
)
def test_95_max_age_and_age_shorten_freshness(cache_control: str, age: str, soft_age: float) -> None:
    sandbox = Sandbox()
    sandbox.issuer.headers = {"cache-control": cache_control, "age": age}
    sandbox.find("one")
    sandbox.clock.advance(soft_age - 0.5)
    sandbox.find("one")
    assert sandbox.issuer.fetches == 1
    sandbox.clock.advance(0.5)
    sandbox.find("one")
    assert sandbox.issuer.fetches == 2


@pytest.mark.parametrize("etag", ['"' + "x" * 255 + '"', '"a"\r\n b', '"\u00e9"', "one", ""])
def test_95_unsafe_etag_is_not_stored(etag: str) -> None:
    sandbox = Sandbox()
    sandbox.issuer.headers = {"etag": etag}
    for _ in range(2):
        sandbox.find("one")
        sandbox.clock.advance(LIFETIME.fresh_for)
    assert sandbox.issuer.etags == [None, None]


def test_304_without_etag_is_invalid() -> None:
    sandbox = Sandbox()
    sandbox.issuer.status = 304
    assert sandbox.is_unavailable("one")


def test_304_without_etag_does_not_refresh() -> None:
    sandbox = Sandbox()
    sandbox.find("one")
    sandbox.issuer.status = 304
    sandbox.clock.advance(LIFETIME.fresh_for)
    assert sandbox.find("one").kid == "one"
    assert sandbox.cache.freshness() == ("stale", LIFETIME.fresh_for)
    sandbox.clock.advance(LIFETIME.stale_for - LIFETIME.fresh_for)
    assert sandbox.is_unavailable("one")


def test_unusable_key_has_a_reason() -> None:
    assert Sandbox("one weak-two").refusal("weak-two") is Reason.KEY_SIZE


def test_new_key_works_after_clock_set_back() -> None:
    monotonic = ManualClock(0)
    sandbox = Sandbox(monotonic=monotonic)
    sandbox.refusal("random")
    sandbox.issuer.kids = "one new"
    sandbox.clock.advance(-1000)
    monotonic.advance(1)
    assert sandbox.find("new", issued_at=sandbox.clock.now).kid == "new"


def test_freeze_ages_the_set() -> None:
    sandbox = Sandbox(monotonic=ManualClock(0))
    sandbox.find("one")
    sandbox.issuer.down = True
    sandbox.clock.advance(3600)
    assert sandbox.is_unavailable("one")


def test_clock_jump_costs_one_fetch() -> None:
    monotonic = ManualClock(0)
    sandbox = Sandbox(monotonic=monotonic)
    for step, fetches in ((0, 1), (86_400, 2), (-86_400, 2), (-86_400, 2), (86_400, 2)):
        sandbox.clock.advance(step)
        assert sandbox.find("one").kid == "one"
        assert sandbox.issuer.fetches == fetches
    monotonic.advance(LIFETIME.fresh_for)
    sandbox.issuer.kids = "two"
    sandbox.refusal("one")
    assert sandbox.issuer.fetches == 3


@pytest.mark.parametrize("step", [-86_400, 86_400])
def test_clock_jump_does_not_extend_pauses(step: float) -> None:
    monotonic = ManualClock(0)
    sandbox = Sandbox(monotonic=monotonic)
    sandbox.issuer.down = True
    assert sandbox.is_unavailable("one")
    sandbox.issuer.down = False
    sandbox.clock.advance(step)
    monotonic.advance(1)
    sandbox.refusal("new")
    sandbox.issuer.kids = "one new"
    sandbox.clock.advance(-step)
    monotonic.advance(30)
    assert sandbox.find("new").kid == "new"
    assert sandbox.issuer.fetches == 3


def test_91_threads_share_the_fetch_limit() -> None:
    sandbox = Sandbox()
    begin = Barrier(16)

    def flood(name: int) -> None:
        begin.wait(10)
        for number in range(50):
            sandbox.refusal(f"{name}-{number}")

    for fetches in (1, 2):
        threads = [Thread(target=flood, args=(name,)) for name in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sandbox.issuer.fetches == fetches
        sandbox.clock.advance(30)  # the cool-down is over


def test_age_is_measured_from_the_request() -> None:
    sandbox = Sandbox()
    quick = sandbox.issuer.fetch

    def frozen_in_between(etag: str | None, deadline: Deadline) -> Response:
        response = quick(etag, deadline)
        sandbox.clock.advance(500)
        return response

    sandbox.cache._fetch = frozen_in_between
    sandbox.find("one")
    assert sandbox.cache.freshness() == ("stale", 500)


def test_seed_serves_an_outage_then_is_replaced() -> None:
    sandbox = Sandbox("one", seed=BundledJwks(b"seeded"))
    sandbox.issuer.down = True
    assert sandbox.find("seeded").kid == "seeded"
    assert sandbox.cache.freshness() == ("stale", 0)
    sandbox.issuer.down = False
    sandbox.clock.advance(1)
    assert sandbox.refusal("seeded") is Reason.KID_UNKNOWN
    assert sandbox.find("one").kid == "one"
    assert sandbox.issuer.fetches == 2


def test_dated_seed_ages_from_its_date() -> None:
    sandbox = Sandbox("one", seed=BundledJwks(b"seeded", NOW - LIFETIME.fresh_for + 1))
    assert sandbox.find("seeded").kid == "seeded"
    assert sandbox.cache.freshness() == ("fresh", LIFETIME.fresh_for - 1)
    assert sandbox.issuer.fetches == 0
    sandbox.clock.advance(1)
    assert sandbox.refusal("seeded") is Reason.KID_UNKNOWN  # withdrawn since
    assert sandbox.issuer.fetches == 1


def test_dated_seed_expires_at_the_hard_age() -> None:
    sandbox = Sandbox("one", seed=BundledJwks(b"seeded", NOW - LIFETIME.stale_for))
    sandbox.issuer.down = True
    with pytest.raises(KeySetUnavailableError):
        sandbox.find("seeded")


def test_seed_from_the_future_counts_as_now() -> None:
    sandbox = Sandbox("one", seed=BundledJwks(b"seeded", NOW + 1e6))
    sandbox.clock.advance(LIFETIME.fresh_for)
    assert sandbox.refusal("seeded") is Reason.KID_UNKNOWN


def test_unknown_key_id_refetches_with_a_fresh_seed() -> None:
    sandbox = Sandbox("one", seed=BundledJwks(b"seeded", NOW))
    assert sandbox.find("one").kid == "one"


def test_freshness_has_state_and_age() -> None:
    sandbox = Sandbox()
    assert sandbox.cache.freshness() == ("none", None)
    sandbox.find("one")
    for age, state in ((0, "fresh"), (299, "fresh"), (300, "stale"), (3599, "stale"), (3600, "expired")):
        sandbox.clock.now = NOW + age
        assert sandbox.cache.freshness() == (state, age)
