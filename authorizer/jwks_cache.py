"""The issuer's keys, kept between invocations.

Two ages rule the set, as they rule all that is kept (see `upkeep`). So nobody waits for somebody
else's fetch to use a key that is known, and a withdrawn key outlives an issuer that cannot be
reached by the hard age at most. Lambda runs no code between invocations: the one request that finds
a revalidation due does it, under the fetch's deadline.

An unknown key id may be a new key or an attack, and only a fetch can tell. There are two permits
to fetch for one. An id that turns out to be nobody's spends the permit for a cool-down; a real
new key spends nothing. The open permit is for whoever comes first. The reserved one is for tokens
that say they are younger than the set and name a subject that was verified here before: the tokens
that a real rotation brings, and that a flood of random key ids does not.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from authorizer import strict_json
from authorizer.cache import Ages, Jitter, Kept, Question, Upkeep, jitter
from authorizer.clock import Clocks, Instant
from authorizer.errors import (
    InvalidTokenError,
    KeyLookupDeferredError,
    KeySetUnavailableError,
    Reason,
)
from authorizer.https_client import HttpExchangeError, Response, parse_url
from authorizer.jwk import KeySet, VerificationKey
from authorizer.metrics import (
    KEY_SET_FETCH_FAILURES,
    KEY_SET_FETCHES,
    STALE_KEY_SET_USES,
    Metric,
    Note,
)

USUAL_AGES = Ages(soft=300.0, hard=3600.0)
SHORTEST_SOFT_AGE = 60.0
_REFETCH_AGE = 1.0
_NO_KID = ""
_OK = 200
_NOT_MODIFIED = 304
_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,200}"')

# Takes the ETag of the set at hand and the seconds allowed. Raises HttpExchangeError.
Fetch = Callable[[str | None, float], Response]


class BundledJwks(NamedTuple):
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


class _Published(NamedTuple):
    """A key set, and what it came as."""

    key_set: KeySet
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

    def seconds_left(self) -> float:
        if self._spent is None:
            return 0.0
        return max(0.0, self._cool_down - self._clocks.since(self._spent))


def _uncounted(metric: Metric) -> None:
    """Count nothing."""


class JwksCache:
    """Finds verification keys by key id, fetching the issuer's JWKS when it must.

    `cool_down` is how many seconds an unknown key id spends a permit for.
    """

    def __init__(
        self,
        fetch: Fetch,
        parse: Callable[[bytes], KeySet],
        clocks: Clocks,
        *,
        ages: Ages = USUAL_AGES,
        cool_down: float = 30.0,
        seed: BundledJwks | None = None,
        jitter: Jitter = jitter,
        note: Note = _uncounted,
    ) -> None:
        self._fetch = fetch
        self._note = note
        self._parse = parse
        self._clocks = clocks
        self._ages = ages
        self._upkeep: Upkeep[_Published] = Upkeep(clocks, KeySetUnavailableError, jitter=jitter)
        self._open_permit = _Permit(clocks, cool_down)
        self._reserved_permit = _Permit(clocks, cool_down)
        self._attempts = 0
        # Replaced as a whole, so that readers need no lock.
        self._held = self._plant(seed) if seed else None

    def _plant(self, seed: BundledJwks) -> Kept[_Published]:
        published, now = _Published(self._parse(seed.body), None, seed.body), self._clocks.now()
        if seed.fetched_at is None:
            return Kept(published, now, self._ages._replace(soft=0.0))
        return Kept(published, now._replace(wall=min(seed.fetched_at, now.wall)), self._ages)

    def find(
        self, kid: str, seconds: float, *, known_subject_iat: float | None = None
    ) -> VerificationKey:
        """Return the issuer's key of this id.

        Args:
            kid: the key id that the token names.
            seconds: how long a fetch may take.
            known_subject_iat: the time of issue that a token of a subject verified before claims.

        Raises:
            InvalidTokenError: the issuer has no such key, or it is not fit for use.
            KeyLookupDeferredError: the cached set has no such key, and no fetch is permitted now.
            KeySetUnavailableError: nobody can tell.
        """
        seen = self._held
        if seen is not None:
            key = seen.value.key_set.keys.get(kid)
            if key is not None and self._clocks.since(seen.asked) < seen.ages.soft:
                return key
        ask = partial(self._ask, kid, self._open_permit)
        held = self._upkeep.current(Question(self._recall, ask), seconds)
        if (key := held.value.key_set.keys.get(kid)) is not None:
            if held is seen:
                self._note(STALE_KEY_SET_USES)
            return key
        if held is seen:
            # A failed fetch is no answer: the id may well be a new key's, and 401 would be a guess.
            ask = partial(self._ask_if_permitted, kid, held, known_subject_iat)
            held = self._upkeep.newer(held, Question(self._recall, ask), seconds)
            if (key := held.value.key_set.keys.get(kid)) is not None:
                return key
        reason = held.value.key_set.refused.get(kid, Reason.KID_UNKNOWN)
        if held is seen:
            raise KeyLookupDeferredError(reason, self._seconds_to_permit(known_subject_iat))
        raise InvalidTokenError(reason)

    def find_again(
        self, rejected: VerificationKey, seconds: float, *, known_subject_iat: float | None = None
    ) -> VerificationKey:
        """Return the issuer's key of the same id after `rejected` did not verify a signature.

        The issuer may have replaced the key under its id. The key set is fetched again unless that
        was a second ago or no fetch is permitted now. Each fetch spends a permit.

        Raises:
            InvalidTokenError: the issuer has no such key any more.
            KeySetUnavailableError: the key set cannot be fetched.
        """
        held = self._held
        if held is not None and self._clocks.since(held.asked) >= _REFETCH_AGE:
            ask = partial(self._ask_if_permitted, _NO_KID, held, known_subject_iat)
            held = self._upkeep.newer(held, Question(self._recall, ask), seconds)
        key = held.value.key_set.keys.get(rejected.kid) if held else rejected
        if key is None:
            raise InvalidTokenError(Reason.KID_UNKNOWN)
        return key

    def _ask_if_permitted(
        self, kid: str, held: Kept[_Published], known_subject_iat: float | None, seconds: float
    ) -> Kept[_Published]:
        permit = self._permit(held, known_subject_iat)
        return held if permit is None else self._ask(kid, permit, seconds)

    def _permit(self, held: Kept[_Published], known_subject_iat: float | None) -> _Permit | None:
        if self._upkeep.failures or self._open_permit.is_free():
            return self._open_permit
        if known_subject_iat is None or not self._reserved_permit.is_free():
            return None
        asked_at = self._clocks.wall() - self._clocks.since(held.asked)  # as the clock is set now
        # A token's time is in whole seconds: it may have been issued at any moment of its second.
        return self._reserved_permit if known_subject_iat + 1 > asked_at else None

    def _seconds_to_permit(self, known_subject_iat: float | None) -> float:
        seconds = self._open_permit.seconds_left()
        if known_subject_iat is None:
            return seconds
        return min(seconds, self._reserved_permit.seconds_left())

    def _recall(self) -> Kept[_Published] | None:
        return self._held

    def _ask(self, kid: str, permit: _Permit, seconds: float) -> Kept[_Published]:
        """Fetch once for the sake of a key id. Whatever fails, the set at hand stays."""
        self._note(KEY_SET_FETCHES)
        self._attempts += 1
        asked, held = self._clocks.now(), self._held
        try:
            response = self._fetch(held.value.etag if held else None, seconds)
            self._held = kept = self._accept(response, held, asked)
        except (HttpExchangeError, KeySetUnavailableError) as error:
            self._note(KEY_SET_FETCH_FAILURES)
            raise KeySetUnavailableError from error
        if kid not in kept.value.key_set.keys:
            permit.spend()
        return kept

    def _accept(
        self, response: Response, held: Kept[_Published] | None, asked: Instant
    ) -> Kept[_Published]:
        ages = self._ages._replace(soft=self._soft_age(response.headers))
        etag = _usable_etag(response.headers.get("etag", ""))
        if held is not None and (
            (response.status == _NOT_MODIFIED and held.value.etag is not None)
            or (response.status == _OK and response.body == held.value.body)
        ):
            return Kept(held.value._replace(etag=etag or held.value.etag), asked, ages)
        if response.status != _OK:
            raise KeySetUnavailableError
        return Kept(_Published(self._parse(response.body), etag, response.body), asked, ages)

    def _soft_age(self, headers: Mapping[str, str]) -> float:
        """Let the issuer shorten the soft age, within reason (RFC 9111, 4.2 and 5.2.2)."""
        control = headers.get("cache-control", "").split(",")
        lifetime = self._ages.soft
        for name, _, value in (directive.strip().lower().partition("=") for directive in control):
            if name in ("no-store", "no-cache"):
                lifetime = 0.0
            elif name == "max-age":
                lifetime = min(lifetime, _delta_seconds(value, lifetime))
        lifetime -= _delta_seconds(headers.get("age", ""), 0.0)  # spent in caches on its way
        return min(max(lifetime, SHORTEST_SOFT_AGE), self._ages.soft)

    def freshness(self) -> tuple[str, float | None]:
        """Return the state of the key set and its age in seconds."""
        held = self._held
        if held is None:
            return "none", None
        age = self._clocks.since(held.asked)
        if age < held.ages.soft:
            return "fresh", age
        return ("stale" if age < held.ages.hard else "expired"), age

    def inspect(self) -> CacheReport:
        """Report the state of the cache."""
        held = self._held
        state, age = self.freshness()
        return CacheReport(
            state=state,
            age=age,
            key_ids=tuple(held.value.key_set.keys) if held else (),
            refused=held.value.key_set.refused if held else {},
            attempts=self._attempts,
            failures=self._upkeep.failures,
        )


def _usable_etag(etag: str) -> str | None:
    """Return an ETag (RFC 9110, 8.8.3) that is fit to be sent back, and may be kept.

    One that makes the issuer refuse the next request would do so for as long as it is kept.
    """
    return etag if _ETAG.fullmatch(etag) else None


def _delta_seconds(text: str, default: float) -> float:
    """Read a whole number of seconds (RFC 9111, 1.2.2)."""
    return float(text[:12]) if text.isascii() and text.isdigit() else default


DISCOVERY_SECONDS = 3600.0
"""How long an issuer's answer about where its keys are is used, unless its keys fail to come."""


class Discovery:
    """Fetches an issuer's key set from where the issuer says it is.

    `get` takes an address, an ETag and the seconds allowed, and raises `HttpExchangeError`.
    """

    def __init__(
        self, issuer: str, get: Callable[[str, str | None, float], Response], clocks: Clocks
    ) -> None:
        self._issuer = issuer
        self._get = get
        self._clocks = clocks
        self._found: tuple[str, Instant] | None = None
        self._etag_from: str | None = None

    def __call__(self, etag: str | None, seconds: float) -> Response:
        """Return the key set's answer; metadata and key set share the seconds.

        Raises:
            HttpExchangeError: one of them did not come, or the metadata are not this issuer's.
        """
        started = self._clocks.now()
        jwks_uri = self._jwks_uri(seconds)
        # Forgotten until the keys have come: an issuer may have moved them.
        found, self._found = self._found, None
        # An ETag means nothing at another address than the one that gave it.
        known = etag if jwks_uri == self._etag_from else None
        response = self._get(jwks_uri, known, self._clocks.left(seconds, started))
        if response.status == _NOT_MODIFIED and known is None:
            raise self._failure("304 from an address that was sent no ETag")
        if response.status in (_OK, _NOT_MODIFIED):
            self._found, self._etag_from = found, jwks_uri
        return response

    def _jwks_uri(self, seconds: float) -> str:
        if self._found and self._clocks.since(self._found[1]) < DISCOVERY_SECONDS:
            return self._found[0]
        now = self._clocks.now()
        url = self._issuer.removesuffix("/") + "/.well-known/openid-configuration"
        jwks_uri = self._read(self._get(url, None, seconds))
        self._found = jwks_uri, now
        return jwks_uri

    def _read(self, response: Response) -> str:
        """Read the metadata; its `issuer` must be the one asked for (4.3)."""
        if response.status != _OK:
            raise self._failure(f"status {response.status}")
        try:
            metadata = strict_json.parse_object(response.body)
            jwks_uri = metadata.get("jwks_uri")
            if metadata.get("issuer") != self._issuer or not isinstance(jwks_uri, str):
                raise self._failure("another issuer, or no jwks_uri")
            # http is for issuers on this machine: no other one may send us to its ports.
            if parse_url(jwks_uri).scheme not in ("https", parse_url(self._issuer).scheme):
                raise self._failure("a jwks_uri without TLS")
        except ValueError as error:
            raise self._failure(str(error)) from error
        return jwks_uri

    def _failure(self, fault: str) -> HttpExchangeError:
        return HttpExchangeError(f"metadata of {self._issuer}: {fault}")
