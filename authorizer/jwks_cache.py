"""Cache of an issuer's key set, and discovery of its address.

The set is revalidated by the request that finds it stale, because Lambda runs no code between invocations. A key that
the issuer withdrew is used for at most `stale_for`, if the issuer is unreachable.

A token with an unknown `kid` may trigger a refetch. If this does not find the key, a cool-down starts: until its end,
no other unknown `kid` triggers a refetch. A refetch with its own cool-down is reserved for new tokens of subjects that
were verified before. A rotation brings such tokens, a flood of random key IDs does not.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from . import strict_json
from .cache import BackOff, CacheEntry, Jitter, Lifetime, Loaded, RefreshingCache, jitter
from .clock import Clocks, Deadline, Instant
from .errors import InvalidTokenError, KeyLookupDeferredError, KeySetUnavailableError, Reason
from .https_client import HttpExchangeError, Request, Response, Send, parse_url
from .jwk import KeySet, VerificationKey
from .metrics import KEY_SET_FETCH_FAILURES, KEY_SET_FETCHES, STALE_KEY_SET_USES, Record, record_nothing

DEFAULT_LIFETIME = Lifetime(fresh_for=300.0, stale_for=3600.0)
MIN_FRESH_FOR = 60.0
_REFETCH_AGE = 1.0
_NO_KID = ""  # no key has this ID
DISCOVERY_SECONDS = 3600.0
"""The time for which a discovered address is used, unless fetching the keys fails."""

_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,200}"')

Fetch = Callable[[str | None, Deadline], Response]
"""Fetches the key set. Takes the ETag of the cached set; raises HttpExchangeError."""


class BundledJwks(NamedTuple):
    """A JWKS that is deployed with the authorizer.

    `fetched_at` is when the issuer published it, in seconds since the epoch: the set ages from then
    on. Without it the set is usable at the start and never fresh.
    """

    body: bytes
    fetched_at: float | None = None


class _Published(NamedTuple):
    key_set: KeySet
    etag: str | None
    body: bytes


_Entry = CacheEntry[_Published]


class _Slot:
    """The only entry. It is replaced as a whole, so readers need no lock."""

    __slots__ = ("entry",)

    def __init__(self) -> None:
        self.entry: _Entry | None = None

    def get(self, key: None) -> _Entry | None:
        return self.entry

    def put(self, key: None, entry: _Entry) -> None:
        self.entry = entry

    def remove(self, key: None) -> None:
        self.entry = None


class _CoolDown:
    """The time after an unsuccessful refetch in which another one is not permitted."""

    def __init__(self, clocks: Clocks, seconds: float) -> None:
        self._clocks = clocks
        self._seconds = seconds
        self._started_at: Instant | None = None

    def start(self) -> None:
        self._started_at = self._clocks.now()

    def seconds_left(self) -> float:
        if self._started_at is None:
            return 0.0
        return max(0.0, self._seconds - self._clocks.since(self._started_at))


class JwksCache:
    """Finds verification keys by key ID, and fetches the issuer's JWKS when necessary.

    `cool_down` is the time in seconds for which one unknown key ID prevents fetches for others.
    """

    def __init__(
        self,
        fetch: Fetch,
        parse: Callable[[bytes], KeySet],
        clocks: Clocks,
        *,
        lifetime: Lifetime = DEFAULT_LIFETIME,
        cool_down: float = 30.0,
        bundled: BundledJwks | None = None,
        jitter: Jitter = jitter,
        record: Record = record_nothing,
    ) -> None:
        self._fetch = fetch
        self._record = record
        self._parse = parse
        self._clocks = clocks
        self._lifetime = lifetime
        self._slot = _Slot()
        self._cache: RefreshingCache[None, _Published] = RefreshingCache(
            self._slot,
            clocks,
            unavailable=KeySetUnavailableError,
            make_error=lambda _paused: KeySetUnavailableError(),
            back_off=BackOff(clocks, jitter=jitter),
        )
        self._any_token = _CoolDown(clocks, cool_down)
        self._known_subject = _CoolDown(clocks, cool_down)
        if bundled is not None:
            self._slot.entry = self._bundled_entry(bundled)

    def _bundled_entry(self, bundled: BundledJwks) -> _Entry:
        published = _Published(self._parse(bundled.body), None, bundled.body)
        now = self._clocks.now()
        if bundled.fetched_at is None:
            return CacheEntry(published, now, self._lifetime._replace(fresh_for=0.0))
        published_at = now._replace(wall=min(bundled.fetched_at, now.wall))
        return CacheEntry(published, published_at, self._lifetime)

    def prepare(self, deadline: Deadline) -> None:
        """Fetch the key set unless a fresh one is cached. A failure delays no other fetch.

        Raises:
            KeySetUnavailableError: the key set cannot be fetched.
        """
        if self._cache.peek(None) is None:
            loaded_at, loaded = self._clocks.now(), self._load(_NO_KID, lambda: None, deadline)
            self._slot.put(None, CacheEntry(loaded.value, loaded_at, loaded.lifetime))

    def find(self, kid: str, deadline: Deadline, *, known_subject_iat: float | None = None) -> VerificationKey:
        """Return the issuer's key of this ID. `known_subject_iat` is the token's `iat` if its subject is known.

        Raises:
            InvalidTokenError: the issuer has no such key, or the key is not usable.
            KeyLookupDeferredError: the cached set has no such key, and no refetch is permitted now.
            KeySetUnavailableError: no usable set is cached, and the fetch failed.
        """
        seen = self._slot.entry
        if seen is not None:
            key = seen.value.key_set.keys.get(kid)
            if key is not None and self._clocks.since(seen.loaded_at) < seen.lifetime.fresh_for:
                return key
        entry = self._cache.get(None, partial(self._load, kid, lambda: self._any_token), deadline)
        if (key := entry.value.key_set.keys.get(kid)) is not None:
            if entry is seen:
                self._record(STALE_KEY_SET_USES)
            return key
        if entry is seen:
            # If this fetch fails, the key may still be new: 401 would be a guess.
            entry = self._refetch(kid, entry, deadline, known_subject_iat)
            if (key := entry.value.key_set.keys.get(kid)) is not None:
                return key
        reason = entry.value.key_set.refused.get(kid, Reason.KID_UNKNOWN)
        if entry is seen:
            raise KeyLookupDeferredError(reason, self._seconds_to_refetch(known_subject_iat))
        raise InvalidTokenError(reason)

    def find_again(
        self, rejected: VerificationKey, deadline: Deadline, *, known_subject_iat: float | None = None
    ) -> VerificationKey:
        """Return the issuer's key of the same ID after `rejected` did not verify a signature.

        The issuer may have replaced the key under its ID. The key set is fetched again unless that was a second ago or
        no refetch is permitted now. Each refetch starts a cool-down.

        Raises:
            InvalidTokenError: the issuer has no such key any more.
            KeySetUnavailableError: the key set cannot be fetched.
        """
        entry = self._slot.entry
        if entry is not None and self._clocks.since(entry.loaded_at) >= _REFETCH_AGE:
            entry = self._refetch(_NO_KID, entry, deadline, known_subject_iat)
        key = entry.value.key_set.keys.get(rejected.kid) if entry else rejected
        if key is None:
            raise InvalidTokenError(Reason.KID_UNKNOWN)
        return key

    def _refetch(self, kid: str, seen: _Entry, deadline: Deadline, known_subject_iat: float | None) -> _Entry:
        """Fetch the key set again, if no cool-down forbids it and no concurrent fetch has replaced the set."""
        cool_down = partial(self._cool_down_of_refetch, seen, known_subject_iat)
        return self._cache.refresh(
            None, partial(self._load, kid, cool_down), deadline, lambda found: found is not seen or cool_down() is None
        )

    def _cool_down_of_refetch(self, entry: _Entry, known_subject_iat: float | None) -> _CoolDown | None:
        """Return the cool-down that an unsuccessful refetch would start; None if a refetch is not permitted."""
        # After a failed fetch, the back-off limits fetches. The cool-down would only delay the recovery.
        if self._cache.failures or not self._any_token.seconds_left():
            return self._any_token
        if known_subject_iat is None or self._known_subject.seconds_left():
            return None
        loaded_at = self._clocks.wall() - self._clocks.since(entry.loaded_at)  # by today's clock
        # `iat` is in whole seconds: the token may have been issued at any moment of that second.
        return self._known_subject if known_subject_iat + 1 > loaded_at else None

    def _seconds_to_refetch(self, known_subject_iat: float | None) -> float:
        cool_downs = [self._any_token] if known_subject_iat is None else [self._any_token, self._known_subject]
        return min(each.seconds_left() for each in cool_downs)

    def _load(self, kid: str, cool_down: Callable[[], _CoolDown | None], deadline: Deadline) -> Loaded[_Published]:
        """Fetch the key set. Start the cool-down if the set does not have this key."""
        self._record(KEY_SET_FETCHES)
        entry, started = self._slot.entry, cool_down()
        cached = entry.value if entry else None
        try:
            response = self._fetch(cached.etag if cached else None, deadline)
            published = self._read(response, cached)
        except (HttpExchangeError, KeySetUnavailableError) as error:
            self._record(KEY_SET_FETCH_FAILURES)
            raise KeySetUnavailableError from error
        if started is not None and kid not in published.key_set.keys:
            started.start()
        return Loaded(published, self._lifetime._replace(fresh_for=self._fresh_for(response.headers)))

    def _read(self, response: Response, cached: _Published | None) -> _Published:
        etag = _usable_etag(response.headers.get("etag", ""))
        if cached is not None and (
            (response.status == 304 and cached.etag is not None)
            or (response.status == 200 and response.body == cached.body)
        ):
            return cached._replace(etag=etag or cached.etag)
        if response.status != 200:
            raise HttpExchangeError(f"status {response.status}")
        return _Published(self._parse(response.body), etag, response.body)

    def _fresh_for(self, headers: Mapping[str, str]) -> float:
        """Let the issuer shorten the lifetime, within limits (RFC 9111, 4.2 and 5.2.2)."""
        control = headers.get("cache-control", "").split(",")
        lifetime = self._lifetime.fresh_for
        for name, _, value in (directive.strip().lower().partition("=") for directive in control):
            if name in ("no-store", "no-cache"):
                lifetime = 0.0
            elif name == "max-age":
                lifetime = min(lifetime, _delta_seconds(value, lifetime))
        lifetime -= _delta_seconds(headers.get("age", ""), 0.0)  # spent in caches on the way
        return min(max(lifetime, MIN_FRESH_FOR), self._lifetime.fresh_for)

    def freshness(self) -> tuple[str, float | None]:
        """Return the state of the key set and its age in seconds."""
        entry = self._slot.entry
        if entry is None:
            return "none", None
        age = self._clocks.since(entry.loaded_at)
        if age < entry.lifetime.fresh_for:
            return "fresh", age
        return ("stale" if age < entry.lifetime.stale_for else "expired"), age


def _usable_etag(etag: str) -> str | None:
    """Return an ETag (RFC 9110, 8.8.3) that can be sent back.

    The issuer could reject every later request because of any other value.
    """
    return etag if _ETAG.fullmatch(etag) else None


def _delta_seconds(text: str, default: float) -> float:
    """Read a whole number of seconds (RFC 9111, 1.2.2)."""
    return float(text[:12]) if text.isascii() and text.isdigit() else default


def fetch_jwks(send: Send, uri: str, etag: str | None, deadline: Deadline) -> Response:
    """Fetch a key set, on the condition that it has changed if an ETag is given."""
    headers = {"Accept": "application/jwk-set+json, application/json"}
    if etag is not None:
        headers["If-None-Match"] = etag
    return send(Request("GET", uri, headers, b"", deadline))


class Discovery:
    """Fetches an issuer's key set from its discovered address (OpenID Connect Discovery 1.0, 4).

    `get` takes an address, an ETag and the deadline, and raises `HttpExchangeError`.
    """

    def __init__(self, issuer: str, get: Callable[[str, str | None, Deadline], Response], clocks: Clocks) -> None:
        self._issuer = issuer
        self._get = get
        self._clocks = clocks
        self._found: tuple[str, Instant] | None = None
        self._etag_from: str | None = None

    def __call__(self, etag: str | None, deadline: Deadline) -> Response:
        """Return the key set's response.

        Raises:
            HttpExchangeError: a response is missing, or the metadata is another issuer's.
        """
        jwks_uri = self._jwks_uri(deadline)
        # Discarded until the keys arrive: the issuer may have moved them.
        found, self._found = self._found, None
        # An ETag is valid only for the address that sent it.
        known = etag if jwks_uri == self._etag_from else None
        response = self._get(jwks_uri, known, deadline)
        if response.status == 304 and known is None:
            raise self._failure("304 from an address that was sent no ETag")
        if response.status in (200, 304):
            self._found, self._etag_from = found, jwks_uri
        return response

    def _jwks_uri(self, deadline: Deadline) -> str:
        if self._found and self._clocks.since(self._found[1]) < DISCOVERY_SECONDS:
            return self._found[0]
        now = self._clocks.now()
        url = self._issuer.removesuffix("/") + "/.well-known/openid-configuration"
        jwks_uri = self._read(self._get(url, None, deadline))
        self._found = jwks_uri, now
        return jwks_uri

    def _read(self, response: Response) -> str:
        """Read the metadata. Its `issuer` must be the requested one (4.3)."""
        if response.status != 200:
            raise self._failure(f"status {response.status}")
        try:
            metadata = strict_json.parse_object(response.body)
            jwks_uri = metadata.get("jwks_uri")
            if metadata.get("issuer") != self._issuer or not isinstance(jwks_uri, str):
                raise self._failure("another issuer, or no jwks_uri")
            # An issuer that is not on this machine must not send requests to its ports over http.
            if parse_url(jwks_uri).scheme not in ("https", parse_url(self._issuer).scheme):
                raise self._failure("a jwks_uri without TLS")
        except ValueError as error:
            raise self._failure(str(error)) from error
        return jwks_uri

    def _failure(self, fault: str) -> HttpExchangeError:
        return HttpExchangeError(f"metadata of {self._issuer}: {fault}")
