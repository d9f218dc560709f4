"""The key set cache compared with a specification, over random issuers and clocks."""

from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from authorizer.cache import Lifetime
from authorizer.clock import Clocks, Deadline
from authorizer.errors import InvalidTokenError, KeySetUnavailableError, Reason
from authorizer.https_client import HttpExchangeError, Response
from authorizer.jwk import KeySet, VerificationKey
from authorizer.jwks_cache import MIN_FRESH_FOR, JwksCache
from tests.support.clock import ManualClock

LIFETIME = Lifetime(fresh_for=300, stale_for=3600)
COOL_DOWN = 30
TIMEOUT = 2.0
ANSWERS = {"good": 200, "an error": 500, "a page": 200, "nothing": 0}


def _parse(raw: bytes) -> KeySet:
    if raw == b"<html>":
        raise KeySetUnavailableError(Reason.KEY_SET_MALFORMED)
    kids = raw.decode().split()
    return KeySet({kid: VerificationKey(kid, frozenset({"RS256"}), 256, lambda *_: None) for kid in kids}, {}, ())


class Fetch(NamedTuple):
    """A fetch: its start, and the key ids that it returned, if it succeeded."""

    began: float
    kids: frozenset[str] | None


class KeySets(RuleBasedStateMachine):
    """An issuer that rotates, hangs and fails, and requests with known and unknown key ids."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0  # the true time, unlike either clock
        self.wall, self.monotonic = ManualClock(), ManualClock(0)
        self.kids = ["key-0"]
        self.answer, self.latency = "good", 0.0
        self.headers: dict[str, str] = {}
        self.fetches: list[Fetch] = []
        self.failures, self.pause_ends = 0, 0.0
        self.cool_down_began = -1e9
        self.cache = JwksCache(
            self.fetch,
            _parse,
            Clocks(self.wall, self.monotonic),
            lifetime=LIFETIME,
            cool_down=COOL_DOWN,
            jitter=lambda: 0,
        )

    def fetch(self, etag: str | None, deadline: Deadline) -> Response:
        seconds = deadline.remaining()
        began = self.now
        assert began >= self.pause_ends, "asked during the pause after a failure"
        assert seconds <= TIMEOUT
        self._pass_time(min(self.latency, seconds))
        if self.answer != "good" or self.latency > seconds:
            self.failures += 1
            self.pause_ends = self.now + min(60, 2 ** (self.failures - 1))
            self.fetches.append(Fetch(began, None))
            if self.answer in ("good", "nothing"):
                raise HttpExchangeError(self.answer)
            return Response(ANSWERS[self.answer], {}, b"<html>")
        self.failures = 0
        self.fetches.append(Fetch(began, frozenset(self.kids)))
        body = " ".join(self.kids)
        tag = f'"{body}"'
        headers = self.headers | {"etag": tag}
        return Response(304, headers, b"") if tag == etag else Response(200, headers, body.encode())

    def _pass_time(self, seconds: float, *, frozen: bool = False) -> None:
        self.now += seconds
        self.wall.advance(seconds)
        if not frozen:
            self.monotonic.advance(seconds)

    @initialize(freezes=st.booleans())
    def begin(self, freezes: bool) -> None:
        self.freezes = freezes  # or the wall clock is set back, but not both

    @rule(seconds=st.sampled_from([0.1, 1, 5, 29, 31, 61, 299, 301, 3599, 4000]))
    def time_passes(self, seconds: float) -> None:
        self._pass_time(seconds)

    @rule(seconds=st.sampled_from([31, 301, 4000]))
    def one_clock_misses_some_time(self, seconds: float) -> None:
        self._pass_time(seconds, frozen=self.freezes)
        if not self.freezes:
            self.wall.advance(-seconds * 2)

    @rule(answer=st.sampled_from(sorted(ANSWERS)), latency=st.sampled_from([0, 0.5, 2, 9]))
    def the_issuer_changes(self, answer: str, latency: float) -> None:
        self.answer, self.latency = answer, latency

    @rule(control=st.sampled_from(["", "max-age=90", "no-store", "max-age=999999"]))
    def the_issuer_is_cached_otherwise(self, control: str) -> None:
        self.headers = {"cache-control": control}

    @rule()
    def the_issuer_rotates(self) -> None:
        self.kids = [*self.kids[-1:], f"key-{int(self.kids[-1].partition('-')[2]) + 1}"]

    @rule(at=st.integers(0, 1), known_subject=st.booleans())
    def a_valid_token_comes(self, at: int, known_subject: bool) -> None:
        self._find(self.kids[at % len(self.kids)], known_subject=known_subject)

    @rule(number=st.integers(0, 20))
    def a_token_of_an_unknown_key_comes(self, number: int) -> None:
        self._find(f"random-{number}", known_subject=False)

    @rule(seconds_back=st.sampled_from([0, 1000]))
    def a_rotation_comes_in_a_flood(self, seconds_back: float) -> None:
        for number in range(3):
            self.a_token_of_an_unknown_key_comes(number)
        if not self.freezes:
            self.wall.advance(-seconds_back)
        self._pass_time(1)
        self.the_issuer_rotates()
        self._find(self.kids[-1], known_subject=True)

    def _find(self, kid: str, *, known_subject: bool) -> None:
        began, fetched_before = self.now, len(self.fetches)
        held = self._held()
        try:
            self.cache.find(
                kid, Deadline(TIMEOUT, self.monotonic), known_subject_iat=self.wall.now if known_subject else None
            )
            outcome = "key"
        except InvalidTokenError:
            outcome = "refused"
        except KeySetUnavailableError:
            outcome = "unavailable"
        fetches = self.fetches[fetched_before:]
        answered = [fetch for fetch in fetches if fetch.kids is not None]
        now_held = self._held()
        is_known = now_held is not None and kid in (now_held.kids or ())

        assert self.now - began <= TIMEOUT
        assert len(fetches) <= 1, "one request fetches once at most"
        if held and kid in (held.kids or ()) and began - held.began < MIN_FRESH_FOR:
            assert (outcome, fetches) == ("key", []), "a known key of a fresh set is not waited for"
        if outcome == "key":
            assert is_known
            assert now_held is not None
            assert self.now - now_held.began < LIFETIME.stale_for + TIMEOUT
        elif outcome == "refused":
            assert not is_known
            assert len(answered) == len(fetches), "a failed fetch is no answer"
            if kid in self.kids:
                assert not known_subject, "a new key works at its first token"
                assert began - self.cool_down_began < COOL_DOWN
        else:
            assert not answered
            assert not is_known or held is None or self.now - held.began >= LIFETIME.stale_for
        if answered and not is_known:
            self.cool_down_began = self.now

    def _held(self) -> Fetch | None:
        return next((fetch for fetch in reversed(self.fetches) if fetch.kids is not None), None)

    @invariant()
    def no_lock_remains(self) -> None:
        assert self.cache._cache._locks._locks == {}


TestKeySets = KeySets.TestCase
