"""Trust bundles from SPIFFE bundle endpoints: fetched, cached and refreshed.

SPIFFE Federation, 4 and 5.2.1 (profile https_web). A bundle is cached by its trust domain and its
URL. Bundles are never merged: otherwise one trust domain could sign for another.

If a bundle cannot be fetched, the response is 503: `invalid_client` would blame a client that may be valid.
"""

from __future__ import annotations

from math import ceil
from threading import Lock

from authorizer.cache import BackOff, CacheEntry, Lifetime, Loaded, LRUCache, RefreshingCache
from authorizer.clock import Clocks, Deadline, Instant
from authorizer.errors import InvalidTokenError, Reason
from authorizer.https_client import HttpExchangeError, Request, Send, parse_url
from authorizer.jwk import VerificationKey
from authorizer.jws import UnverifiedHeader

from ..clients.spiffe_rules import SpiffeRules
from ..clients.trust_bundle import TrustBundle, registered_bundle
from ..web.oauth_errors import TemporarilyUnavailableError

FETCH_SECONDS = 3.0
DEFAULT_FRESH_SECONDS = 300
"""Without a refresh hint. SPIFFE Federation, 4.1."""

SHORTEST_FRESH_SECONDS = 60
LONGEST_FRESH_SECONDS = 3600
"""Limits for the refresh hint. A removed key is accepted for at most that long."""

STALE_SECONDS = 3600
"""Seconds for which a bundle is used after it was fresh, while its endpoint is unavailable."""

COOL_DOWN_SECONDS = 30
"""Seconds between two fetches for keys that the cached bundle does not have."""

_REFETCH_AGE = 0.05
"""A younger bundle was probably loaded by the same request, which need not fetch it twice."""

_CACHED_SOURCES = 256


class TrustBundles:
    """Finds the bundle of a client's trust domain.

    `send` limits the addresses. `http` allows http URLs, for endpoints on this machine.
    """

    def __init__(self, send: Send, clocks: Clocks, *, http: bool = False) -> None:
        self._send = send
        self._clocks = clocks
        self._http = http
        self._sources: LRUCache[tuple[str, str], _Source] = LRUCache(_CACHED_SOURCES)
        self._adding = Lock()

    def current(self, rules: SpiffeRules) -> TrustBundle:
        """Return the bundle, at most as old as its refresh hint, or stale during an outage.

        Raises:
            TemporarilyUnavailableError: it is not available.
        """
        if rules.bundle:
            return registered_bundle(rules.trust_domain, rules.bundle)
        return self._source(rules).current()

    def newer(self, rules: SpiffeRules, seen: TrustBundle) -> TrustBundle:
        """Return the bundle, fetched again because `seen` lacks a key.

        A key is published before its first use, but a bundle may be older than that. There is one
        such fetch in 30 seconds: it cannot be caused by random key ids more often.

        Raises:
            TemporarilyUnavailableError: it cannot be fetched, or not just now.
        """
        return seen if rules.bundle else self._source(rules).newer(seen)

    def jwt_key(self, rules: SpiffeRules, header: UnverifiedHeader) -> VerificationKey:
        """Return the key of a JWT-SVID. Without `kid`, it is the only key of its algorithm. JWT-SVID, 2.2.

        Raises:
            InvalidTokenError: the bundle has no such key.
            TemporarilyUnavailableError: the bundle is not available, or may not be fetched again just now.
        """
        bundle = self.current(rules)
        keys = bundle.jwt_keys(header.alg)
        if not header.kid:
            if len(keys.keys) != 1:
                raise InvalidTokenError(Reason.KID_MISSING)
            return next(iter(keys.keys.values()))
        if header.kid not in keys.keys and header.kid not in keys.refused:
            keys = self.newer(rules, bundle).jwt_keys(header.alg)
        if header.kid not in keys.keys:
            raise InvalidTokenError(keys.refused.get(header.kid, Reason.KID_UNKNOWN))
        return keys.keys[header.kid]

    def _source(self, rules: SpiffeRules) -> _Source:
        key = rules.trust_domain, rules.spiffe_bundle_endpoint
        source = self._sources.get(key)
        if source is None:
            with self._adding:
                source = self._sources.get(key) or _Source(*key, self._send, self._clocks, http=self._http)
                self._sources.put(key, source)
        return source


class _Source:
    """The bundle of one trust domain at one URL."""

    def __init__(self, trust_domain: str, url: str, send: Send, clocks: Clocks, *, http: bool) -> None:
        self._trust_domain = trust_domain
        self._url = url
        self._send = send
        self._clocks = clocks
        self._http = http
        self._entries: LRUCache[None, CacheEntry[TrustBundle]] = LRUCache(1)
        self._refetched_at: Instant | None = None
        self._last_failure = "no attempt yet"
        self._cache: RefreshingCache[None, TrustBundle] = RefreshingCache(
            self._entries,
            clocks,
            unavailable=TemporarilyUnavailableError,
            make_error=lambda _paused: self._unavailable(),
            back_off=BackOff(clocks),
        )

    def current(self) -> TrustBundle:
        return self._cache.get(None, self._load, self._deadline()).value

    def newer(self, seen: TrustBundle) -> TrustBundle:
        entry = self._entries.get(None)
        if entry is None or entry.value is not seen or self._clocks.since(entry.loaded_at) < _REFETCH_AGE:
            return entry.value if entry else seen
        left = COOL_DOWN_SECONDS - self._clocks.since(self._refetched_at) if self._refetched_at else 0
        if left > 0:
            error = TemporarilyUnavailableError(
                "The key of the SVID cannot be looked up just now. Try again.",
                reason=f"a key is not in the cached bundle of {self._trust_domain}",
            )
            error.headers = {"Retry-After": str(max(1, ceil(left)))}
            raise error
        self._refetched_at = self._clocks.now()
        return self._cache.refresh(None, self._load, self._deadline(), lambda found: found.value is not seen).value

    def _deadline(self) -> Deadline:
        return Deadline(FETCH_SECONDS, self._clocks.monotonic)

    def _load(self, deadline: Deadline) -> Loaded[TrustBundle]:
        try:
            bundle = self._fetch(deadline)
        except (HttpExchangeError, ValueError) as error:
            self._last_failure = str(error)
            raise self._unavailable() from error
        hint = DEFAULT_FRESH_SECONDS if bundle.refresh_hint is None else bundle.refresh_hint
        fresh_for = min(max(hint, SHORTEST_FRESH_SECONDS), LONGEST_FRESH_SECONDS)
        return Loaded(bundle, Lifetime(fresh_for, fresh_for + STALE_SECONDS))

    def _fetch(self, deadline: Deadline) -> TrustBundle:
        """Return the published bundle, unless it is older than a usable cached one.

        Redirects are not followed: an operator should see that an endpoint has moved. SPIFFE Federation, 7.5.1.
        """
        if parse_url(self._url).scheme != "https" and not self._http:
            raise HttpExchangeError(f"not an https URL: {self._url}")
        response = self._send(Request("GET", self._url, {"Accept": "application/json"}, b"", deadline))
        if response.status != 200:
            raise HttpExchangeError(f"status {response.status}")
        bundle = TrustBundle(self._trust_domain, response.body)
        cached = self._entries.get(None)
        if cached is not None and 0 <= self._clocks.since(cached.loaded_at) < cached.lifetime.stale_for:
            known = cached.value.sequence
            if known is not None and bundle.sequence is not None and bundle.sequence < known:
                raise ValueError(f"spiffe_sequence {bundle.sequence} is older than {known}")
        return bundle

    def _unavailable(self) -> TemporarilyUnavailableError:
        return TemporarilyUnavailableError(
            "The keys to check the SVID with cannot be fetched just now. Try again.",
            reason=f"no usable bundle of {self._trust_domain} from {self._url}: {self._last_failure}",
        )
