"""The issuer's keys, kept between invocations.

Two ages rule it. Past the soft age the set is revalidated, and still used if that fails. Past the
hard age it is used no more: so long can a withdrawn key outlive an issuer that cannot be reached.

Nobody waits for somebody else's fetch to use a key that is known. Lambda runs no code between
invocations, so the one request that finds a revalidation due does it, under the fetch's deadline.

An unknown key id may be a new key or an attack, and only a fetch can tell. There are two permits
to fetch for one. An id that turns out to be nobody's spends the permit for a cool-down; a real
new key spends nothing. The open permit is for whoever comes first. The reserved one is for tokens
that say they are younger than the set and name a subject that was verified here before: the tokens
that a real rotation brings, and that a flood of random key ids does not.
"""

import re
from _thread import allocate_lock  # importing threading takes a fiftieth of a cold start
from collections.abc import Callable, Mapping
from typing import NamedTuple

from authorizer.clocks import Ages, BackOff, Chance, Clocks, Instant, chance
from authorizer.errors import KeySetUnavailable, TokenRefused
from authorizer.https_client import ExchangeFailed, Response
from authorizer.jwk import KeySet, VerificationKey
from authorizer.metrics import (
    KEY_SET_FETCH_FAILURES,
    KEY_SET_FETCHES,
    STALE_KEY_SET_USES,
    Metric,
    Note,
)
from authorizer.reasons import Reason

USUAL_AGES = Ages(soft=300.0, hard=3600.0)
SHORTEST_SOFT_AGE = 60.0
_OK = 200
_NOT_MODIFIED = 304
_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,200}"')

# Takes the ETag of the set at hand and the seconds allowed. Raises ExchangeFailed.
Fetch = Callable[[str | None, float], Response]


class Seed(NamedTuple):
    """A JWKS that is there from the start.

    `fetched_at` is when the issuer published it, in seconds since the epoch: such a seed ages like
    a set that was fetched then. Without it a seed is for the day the issuer cannot be reached: fit
    for use from the start on, and never fresh.
    """

    body: bytes
    fetched_at: float | None = None


class CacheReport(NamedTuple):
    """The state of the cache, for logs and operators."""

    state: str  # "none", "fresh", "stale" or "expired"
    age: float | None
    key_ids: tuple[str, ...]
    refused: Mapping[str, Reason]
    attempts: int
    failures: int


class _Held(NamedTuple):
    """A key set with its provenance. Replaced as a whole, so that readers need no lock."""

    key_set: KeySet
    confirmed: Instant
    soft_age: float
    etag: str | None
    body: bytes


class _Permit:
    """The right to fetch for the sake of an unknown key id."""

    def __init__(self, clocks: Clocks, cool_down: float) -> None:
        self._clocks = clocks
        self._cool_down = cool_down
        self._spent: Instant | None = None

    def is_free(self) -> bool:
        return self._spent is None or self._clocks.since(self._spent) >= self._cool_down

    def spend(self) -> None:
        self._spent = self._clocks.now()


def _uncounted(metric: Metric) -> None:
    """Count nothing."""


class JwksCache:
    """Finds verification keys by key id, fetching the issuer's JWKS when it must.

    `cool_down` is how many seconds an unknown key id spends a permit for.
    """

    def __init__(  # noqa: PLR0913 - all that has time, randomness or a network in it
        self,
        fetch: Fetch,
        parse: Callable[[bytes], KeySet],
        clocks: Clocks,
        *,
        ages: Ages = USUAL_AGES,
        cool_down: float = 30.0,
        seed: Seed | None = None,
        chance: Chance = chance,
        note: Note = _uncounted,
    ) -> None:
        self._fetch = fetch
        self._note = note
        self._parse = parse
        self._clocks = clocks
        self._ages = ages
        self._flight = allocate_lock()
        self._back_off = BackOff(clocks, chance=chance)
        self._open_permit = _Permit(clocks, cool_down)
        self._reserved_permit = _Permit(clocks, cool_down)
        self._attempts = 0
        self._held = self._plant(seed) if seed else None

    def _plant(self, seed: Seed) -> _Held:
        key_set, now = self._parse(seed.body), self._clocks.now()
        if seed.fetched_at is None:
            return _Held(key_set, now, 0.0, None, seed.body)
        confirmed = now._replace(wall=min(seed.fetched_at, now.wall))
        return _Held(key_set, confirmed, self._ages.soft, None, seed.body)

    def find(
        self, kid: str, seconds: float, *, vouched_issued_at: float | None = None
    ) -> VerificationKey:
        """Return the issuer's key of this id.

        Args:
            kid: the key id that the token names.
            seconds: how long a fetch may take.
            vouched_issued_at: the time of issue that a token of a subject verified before claims.

        Raises:
            TokenRefused: the issuer has no such key, or it is not fit for use.
            KeySetUnavailable: nobody can tell.
        """
        held = self._held
        if held is not None:
            age = self._clocks.since(held.confirmed)
            key = held.key_set.keys.get(kid)
            if key is not None and age < held.soft_age:
                return key
            if key is not None and age < self._ages.hard:
                key = self._find_revalidated(kid, key, seconds)
                if self._held is held:
                    self._note(STALE_KEY_SET_USES)
                return key
        return self._find_anew(kid, seconds, vouched_issued_at)

    def _find_revalidated(self, kid: str, key: VerificationKey, seconds: float) -> VerificationKey:
        """Bring the set up to date, unless someone is at it or the issuer needs rest."""
        if self._back_off.is_on() or not self._flight.acquire(blocking=False):
            return key
        try:
            self._attempt(seconds)
        finally:
            self._flight.release()
        return self._look_up(kid)

    def _find_anew(
        self, kid: str, seconds: float, vouched_issued_at: float | None
    ) -> VerificationKey:
        """Ask the issuer about a key id that is not in a set fit for use, if that is permitted."""
        attempts = self._attempts
        if not self._flight.acquire(timeout=seconds):
            raise KeySetUnavailable
        try:
            # An attempt that ended while we waited has answered our question, one way or the other.
            if attempts == self._attempts and (permit := self._permit(vouched_issued_at)):
                self._attempt(seconds)
                if not self._back_off.failures and not self._holds(kid):
                    permit.spend()
        finally:
            self._flight.release()
        return self._look_up(kid)

    def _permit(self, vouched_issued_at: float | None) -> _Permit | None:
        if self._back_off.is_on():
            return None
        held = self._held
        if held is None or self._clocks.since(held.confirmed) >= self._ages.hard:
            return self._open_permit
        if self._open_permit.is_free() or self._back_off.failures:
            return self._open_permit
        # A token's time is in whole seconds: it may have been issued at any moment of its second.
        is_younger = vouched_issued_at is not None and vouched_issued_at + 1 > held.confirmed.wall
        if is_younger and self._reserved_permit.is_free():
            return self._reserved_permit
        return None

    def _holds(self, kid: str) -> bool:
        return self._held is not None and kid in self._held.key_set.keys

    def _look_up(self, kid: str) -> VerificationKey:
        """Answer from the set at hand, or say why it cannot be answered."""
        held = self._held
        if held is None or self._clocks.since(held.confirmed) >= self._ages.hard:
            raise KeySetUnavailable
        if (key := held.key_set.keys.get(kid)) is not None:
            return key
        # After a failed fetch an unknown id may well be a new key: 401 would be a guess.
        if self._back_off.failures:
            raise KeySetUnavailable
        raise TokenRefused(held.key_set.refused.get(kid, Reason.KID_UNKNOWN))

    def _attempt(self, seconds: float) -> None:
        """Fetch once. Whatever fails, the set at hand stays; the back-off starts."""
        self._note(KEY_SET_FETCHES)
        started = self._clocks.now()  # the set is as old as the question, not as the answer
        held = self._held
        try:
            response = self._fetch(held.etag if held else None, seconds)
            self._held = self._accept(response, held, started)
        except (ExchangeFailed, KeySetUnavailable):
            self._back_off.failed()
            self._note(KEY_SET_FETCH_FAILURES)
        else:
            self._back_off.succeeded()
        finally:
            self._attempts += 1

    def _accept(self, response: Response, held: _Held | None, started: Instant) -> _Held:
        soft_age = self._soft_age(response.headers.get("cache-control", ""))
        etag = _usable_etag(response.headers.get("etag", ""))
        if held is not None and (
            response.status == _NOT_MODIFIED
            or (response.status == _OK and response.body == held.body)
        ):
            return held._replace(confirmed=started, soft_age=soft_age, etag=etag or held.etag)
        if response.status != _OK:
            raise KeySetUnavailable
        return _Held(self._parse(response.body), started, soft_age, etag, response.body)

    def _soft_age(self, cache_control: str) -> float:
        """Let the issuer shorten the soft age, within reason (RFC 9111, 5.2.2)."""
        directives = [directive.strip().lower() for directive in cache_control.split(",")]
        if "no-store" in directives or "no-cache" in directives:
            return min(SHORTEST_SOFT_AGE, self._ages.soft)
        for directive in directives:
            name, _, value = directive.partition("=")
            if name == "max-age" and value.isascii() and value.isdigit():
                return min(max(float(value[:12]), SHORTEST_SOFT_AGE), self._ages.soft)
        return self._ages.soft

    def freshness(self) -> tuple[str, float | None]:
        """Return the state of the key set and its age in seconds."""
        held = self._held
        if held is None:
            return "none", None
        age = self._clocks.since(held.confirmed)
        if age < held.soft_age:
            return "fresh", age
        return ("stale" if age < self._ages.hard else "expired"), age

    def inspect(self) -> CacheReport:
        """Report the state of the cache."""
        held = self._held
        state, age = self.freshness()
        return CacheReport(
            state=state,
            age=age,
            key_ids=tuple(held.key_set.keys) if held else (),
            refused=held.key_set.refused if held else {},
            attempts=self._attempts,
            failures=self._back_off.failures,
        )


def _usable_etag(etag: str) -> str | None:
    """Return an ETag (RFC 9110, 8.8.3) that is fit to be sent back, and may be kept.

    One that makes the issuer refuse the next request would do so for as long as it is kept.
    """
    return etag if _ETAG.fullmatch(etag) else None
