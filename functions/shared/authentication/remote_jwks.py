"""JWK Sets of clients and other issuers: fetched, cached and refreshed like the authorizer's.

URLs come from a client's registration, never from a request. If a JWK Set cannot be fetched, the
response is 503: `invalid_client` would blame a client that may be valid.

The same applies to an unknown `kid` while others have used up the fetches of 30 seconds. One fetch
is reserved for subjects that this process has authenticated before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from threading import Lock

from authorizer.cache import LRUCache
from authorizer.clock import Clocks, Deadline
from authorizer.errors import KeyLookupDeferredError, KeySetUnavailableError
from authorizer.https_client import HttpExchangeError, Response, Send, parse_url
from authorizer.jwk import VerificationKey, parse_key_set
from authorizer.jwks_cache import Discovery, Fetch, JwksCache, fetch_jwks
from authorizer.jws import ALGORITHMS

from ..web.oauth_errors import TemporarilyUnavailableError

FETCH_SECONDS = 3.0
"""Time limit of one fetch, including discovery."""

_CACHED_SOURCES = 256


class RemoteJwks:
    """Finds keys in JWK Sets that `send` fetches, which limits the addresses.

    `http` allows http URLs, for JWK Sets on this machine. `known_subject_iat` is the `iat` of an
    assertion whose subject was verified before, which may use the reserved fetch. `rejected` is a
    key that did not verify a signature: a cached set is fetched again, if that is permitted.
    """

    def __init__(self, send: Send, clocks: Clocks, *, http: bool = False) -> None:
        self._send = send
        self._clocks = clocks
        self._http = http
        self._sources: LRUCache[str, _Source] = LRUCache(_CACHED_SOURCES)
        self._adding = Lock()

    def find(
        self, jwks_uri: str, kid: str, known_subject_iat: float | None = None, rejected: VerificationKey | None = None
    ) -> VerificationKey:
        """Return the key with this `kid` in the JWK Set at `jwks_uri`.

        Raises:
            InvalidTokenError: there is none, or it is not usable.
            TemporarilyUnavailableError: the JWK Set is not available.
        """
        source = self._source(jwks_uri, lambda: partial(self._get, jwks_uri))
        return source.find(kid, known_subject_iat, rejected)

    def find_by_issuer(
        self, issuer: str, kid: str, known_subject_iat: float | None = None, rejected: VerificationKey | None = None
    ) -> VerificationKey:
        """Return the key with this `kid` of an issuer. OpenID Connect Discovery 1.0, 4.

        Raises:
            InvalidTokenError: there is none, or it is not usable.
            TemporarilyUnavailableError: the JWK Set is not available.
        """
        # The prefix separates an issuer from a JWK Set with the same URL.
        name = f"issuer {issuer}"
        source = self._source(name, lambda: Discovery(issuer, self._get, self._clocks))
        return source.find(kid, known_subject_iat, rejected)

    def _source(self, name: str, make_fetch: Callable[[], Fetch]) -> _Source:
        source = self._sources.get(name)
        if source is None:
            with self._adding:
                source = self._sources.get(name) or _Source(name, make_fetch(), self._clocks)
                self._sources.put(name, source)
        return source

    def _get(self, url: str, etag: str | None, deadline: Deadline) -> Response:
        if parse_url(url).scheme != "https" and not self._http:
            raise HttpExchangeError(f"not an https URL: {url}")
        return fetch_jwks(self._send, url, etag, deadline)


class _Source:
    """One JWK Set, and the result of its last fetch for the log."""

    def __init__(self, name: str, fetch: Fetch, clocks: Clocks) -> None:
        self._name = name
        self._fetch = fetch
        self._last_result = "no attempt yet"
        self._monotonic = clocks.monotonic
        self._keys = JwksCache(self._attempt, partial(parse_key_set, algorithms=ALGORITHMS), clocks)

    def find(self, kid: str, known_subject_iat: float | None, rejected: VerificationKey | None) -> VerificationKey:
        try:
            deadline = Deadline(FETCH_SECONDS, self._monotonic)
            if rejected is not None:
                return self._keys.find_again(rejected, deadline, known_subject_iat=known_subject_iat)
            return self._keys.find(kid, deadline, known_subject_iat=known_subject_iat)
        except KeyLookupDeferredError as error:
            unavailable = TemporarilyUnavailableError(
                "The key of the assertion cannot be looked up just now. Try again.",
                reason=f"a key id is not in the cached key set from {self._name}",
            )
            unavailable.headers = {"Retry-After": str(max(1, ceil(error.retry_after)))}
            raise unavailable from error
        except KeySetUnavailableError as error:
            raise TemporarilyUnavailableError(
                "The keys to check the assertion with cannot be fetched just now. Try again.",
                reason=f"no usable key set from {self._name}: {self._last_result}",
            ) from error

    def _attempt(self, etag: str | None, deadline: Deadline) -> Response:
        try:
            response = self._fetch(etag, deadline)
        except HttpExchangeError as error:
            self._last_result = str(error)
            raise
        self._last_result = f"status {response.status}, {len(response.body)} bytes"
        return response
