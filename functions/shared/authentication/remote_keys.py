"""Keys that clients and other issuers publish: fetched, kept and renewed as the authorizer's are.

What is fetched is named by a client's registration, never by a request. A key set that cannot be
had is not the caller's fault, and says nothing about the caller: the answer is 503, because
`invalid_client` would be a guess, and a good client would be sent looking for a fault of its own.
The same holds for a key id that is not in the cached set and cannot be looked up yet, because other
unknown key ids have used up the fetches of these 30 seconds. One fetch is reserved for assertions
of clients and workloads that have authenticated in this process before.
"""

from __future__ import annotations

from functools import partial
from math import ceil
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

from authorizer.discovery import Discovery
from authorizer.errors import KeyIdNotLookedUp, KeySetUnavailable
from authorizer.https_client import ExchangeFailed, Request, Response, parse_url
from authorizer.jwk import ALGORITHMS, VerificationKey, parse_key_set
from authorizer.jwks_cache import JwksCache
from authorizer.recent import Recent
from functions.shared.web.oauth_errors import TemporarilyUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from authorizer.clocks import Clocks
    from authorizer.https_client import Send
    from authorizer.jwks_cache import Fetch

FETCH_SECONDS: Final = 3.0
"""How long a request waits for keys: discovery and key set together."""

_REMEMBERED_SOURCES: Final = 256


class RemoteKeys(Protocol):
    """Finds keys that are published elsewhere.

    `vouched_issued_at` is when an assertion says it was issued, if its subject was verified here
    before. It may then use a fetch that is reserved.
    """

    def at(
        self, jwks_uri: str, kid: str, vouched_issued_at: float | None = None
    ) -> VerificationKey:
        """Return the key of this id in the key set at `jwks_uri`.

        Raises:
            TokenRefused: there is none, or it is not fit for use.
            TemporarilyUnavailableError: nobody can tell.
        """

    def of_issuer(
        self, issuer: str, kid: str, vouched_issued_at: float | None = None
    ) -> VerificationKey:
        """Return the key of this id that an issuer publishes. OpenID Connect Discovery 1.0, 4.

        Raises:
            TokenRefused: there is none, or it is not fit for use.
            TemporarilyUnavailableError: nobody can tell.
        """


class CachedRemoteKeys:
    """Fetches key sets with `send`, which decides what may be reached, and keeps them.

    `http` admits http URLs, which lead to this machine only.
    """

    def __init__(self, send: Send, clocks: Clocks, *, http: bool = False) -> None:
        self._send = send
        self._clocks = clocks
        self._http = http
        self._sources: Recent[str, _Source] = Recent(_REMEMBERED_SOURCES)
        self._adding = Lock()

    def at(
        self, jwks_uri: str, kid: str, vouched_issued_at: float | None = None
    ) -> VerificationKey:
        """Return the key of this id in the key set at `jwks_uri`."""
        source = self._source(jwks_uri, lambda: partial(self._get, jwks_uri))
        return source.find(kid, vouched_issued_at)

    def of_issuer(
        self, issuer: str, kid: str, vouched_issued_at: float | None = None
    ) -> VerificationKey:
        """Return the key of this id that an issuer publishes."""
        # No URL begins like this: an issuer and a key set of the same address are two sources.
        name = f"issuer {issuer}"
        source = self._source(name, lambda: Discovery(issuer, self._get, self._clocks))
        return source.find(kid, vouched_issued_at)

    def _source(self, name: str, make_fetch: Callable[[], Fetch]) -> _Source:
        source = self._sources.get(name)
        if source is None:
            with self._adding:
                source = self._sources.get(name) or _Source(name, make_fetch(), self._clocks)
                self._sources.put(name, source)
        return source

    def _get(self, url: str, etag: str | None, seconds: float) -> Response:
        headers = {"Accept": "application/jwk-set+json, application/json"}
        if etag is not None:
            headers["If-None-Match"] = etag
        if parse_url(url).scheme != "https" and not self._http:
            raise ExchangeFailed(f"not an https URL: {url}")
        return self._send(Request("GET", url, headers, b"", seconds))


class _Source:
    """One key set, and what went wrong when it was last fetched."""

    def __init__(self, name: str, fetch: Fetch, clocks: Clocks) -> None:
        self._name = name
        self._fetch = fetch
        self._trouble = "no attempt yet"
        self._keys = JwksCache(self._attempt, partial(parse_key_set, algorithms=ALGORITHMS), clocks)

    def find(self, kid: str, vouched_issued_at: float | None) -> VerificationKey:
        try:
            return self._keys.find(kid, FETCH_SECONDS, vouched_issued_at=vouched_issued_at)
        except KeyIdNotLookedUp as error:
            unavailable = TemporarilyUnavailableError(
                "The key of the assertion cannot be looked up just now. Try again.",
                reason=f"a key id is not in the cached key set from {self._name}",
            )
            unavailable.headers = {"Retry-After": str(max(1, ceil(error.retry_after)))}
            raise unavailable from error
        except KeySetUnavailable as error:
            raise TemporarilyUnavailableError(
                "The keys to check the assertion with cannot be fetched just now. Try again.",
                reason=f"no usable key set from {self._name}: {self._trouble}",
            ) from error

    def _attempt(self, etag: str | None, seconds: float) -> Response:
        try:
            response = self._fetch(etag, seconds)
        except ExchangeFailed as error:
            self._trouble = str(error)
            raise
        self._trouble = f"status {response.status}, {len(response.body)} bytes"
        return response
