"""Rate limit of failed authentications, by client and source IP.

Failures are limited per client and source. When a client is attacked from many sources, each source is blocked after
one failure; sources with the right secret continue to work. Unknown client ids are counted the same.

A successful request neither reads nor writes. The counters return their values with each failure. Each warm process
learns of a block only by its own failure. A blocked source therefore has one more guess per process.

The source's counter is incremented first. If it exceeds the limit, the source is blocked whatever
the client's counter is. An unavailable counter is treated as
exceeded, because an attacker could otherwise overload the table to guess without limit.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil

from authorizer.cache import LRUCache
from authorizer.state_table import state_key

from ..storage.errors import StorageError, StorageUnavailableError
from ..storage.state_table import Counters
from ..web.oauth_errors import TooManyFailuresError

ISSUER = "\0issuer "
"""Before an issuer under which failures are counted. No client_id begins with it."""
UNKNOWN_ISSUER = ISSUER
"""The name under which failures of all unknown issuers are counted. One source cannot cause a query for each."""

_BY_SOURCE = "failures-by-source"
_BY_CLIENT = "failures-by-client"
_CACHED_BLOCKS = 4096
_IPV6_SITE_BITS = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """Allowed failures in a window of `window` seconds. Windows follow each other without a gap.

    A generated secret cannot be guessed at any rate; thirty guesses a minute are few for an imported one. The window is
    short. A deployment with an old secret, or another client with the same IP address, does not block for long.

    After `per_client` failures of a client, each source is allowed one failure per window.
    """

    window: int = 60
    per_source: int = 30
    per_client: int = 300


class FailureLimiter:
    """Counts failures, and blocks sources that exceed the limits."""

    def __init__(self, counters: Counters, limits: Limits | None = None) -> None:
        self._counters = counters
        self._limits = limits or Limits()
        self._blocked: LRUCache[str, int] = LRUCache(_CACHED_BLOCKS)

    def check(self, client_id: str, source_ip: str, now: float) -> None:
        """Return unless this process knows that the source is blocked for this client.

        Raises:
            TooManyFailuresError: it is blocked, with any credentials.
        """
        if not len(self._blocked):  # saves the digest for almost all requests
            return
        until = self._blocked.get(state_key(_BY_SOURCE, client_id, _site(source_ip)))
        # No window ends later than that. After the clock was set back, a block is not prolonged.
        if until is not None and 0 < until - now <= self._limits.window:
            raise TooManyFailuresError(ceil(until - now))

    def count_failure(self, client_id: str, source_ip: str, now: float) -> None:
        """Count one failure.

        Raises:
            TooManyFailuresError: it exceeds a limit. Its cause is the error of a counter that is
                unavailable.
            StorageError: it does not exceed a limit, but could not be counted everywhere.
        """
        limits, site = self._limits, _site(source_ip)
        until = (int(now) // limits.window + 1) * limits.window
        uncounted: StorageError | None = None
        by_client = 0
        try:
            by_source = self._increment(until, _BY_SOURCE, client_id, site)
        except StorageUnavailableError as error:
            by_source, uncounted = limits.per_source + 1, error
        if by_source <= limits.per_source:
            try:
                by_client = self._increment(until, _BY_CLIENT, client_id)
            except StorageUnavailableError as error:
                by_client, uncounted = limits.per_client + 1, error
        allowed = limits.per_source if by_client <= limits.per_client else 1
        if by_source >= allowed:
            self._blocked.put(state_key(_BY_SOURCE, client_id, site), until)
        if by_source > allowed:
            raise TooManyFailuresError(ceil(until - now)) from uncounted
        if uncounted:
            raise uncounted

    def _increment(self, until: int, kind: str, *parts: str) -> int:
        return self._counters.increment(state_key(kind, *parts, str(until)), until)


def _site(source_ip: str) -> str:
    """Return the IPv4 address, or the 64-bit network that one IPv6 customer has."""
    try:
        address = ip_address(source_ip)
    except ValueError:
        return source_ip
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ip_network((address, _IPV6_SITE_BITS), strict=False))
    return str(address)
