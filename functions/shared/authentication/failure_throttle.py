"""Failed authentications, counted by client and by where they come from, and refused when many.

Guessing has a budget per client and source. A client that is guessed at from everywhere keeps
working for whoever knows its secret: then a single failure, instead of many, closes the door to its
source, and to nobody else. Clients that do not exist are counted like those that do.

Nothing is read or written for a request that succeeds. Who is refused is known from the answers of
the counters, so a process learns of a full one with its own next failure: an attacker gains one
guess per warm process.

The source is judged first, so that no other counter can excuse it. A counter that is throttled or
cannot be reached is over its limit: an attacker could otherwise guess without a limit by keeping
the table busy.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Final

from authorizer.recent import Recent
from authorizer.state_entry import entry
from functions.shared.storage.errors import StorageUnavailableError
from functions.shared.web.oauth_errors import TooManyFailuresError

if TYPE_CHECKING:
    from functions.shared.storage.errors import StorageError
    from functions.shared.storage.state_table import Counters

_BY_SOURCE: Final = "failures-by-source"
_BY_CLIENT: Final = "failures-by-client"
_REMEMBERED_REFUSALS: Final = 4096
_IPV6_SITE_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """How many failures pass in `window` seconds. Windows follow each other without a gap.

    A generated secret cannot be guessed at any rate, and for an imported one thirty guesses a
    minute are few. The window is short because a deployment with an old secret, or a neighbour
    behind the same address, must not keep out the one with the right secret for long.

    Past `per_client`, one failure is all that a source has.
    """

    window: int = 60
    per_source: int = 30
    per_client: int = 300


class FailureThrottle:
    """Counts failures, and refuses those who had too many."""

    def __init__(self, counters: Counters, limits: Limits | None = None) -> None:
        self._counters = counters
        self._limits = limits or Limits()
        self._refused: Recent[str, int] = Recent(_REMEMBERED_REFUSALS)

    def check(self, client_id: str, source_ip: str, now: float) -> None:
        """Return unless this process knows that the source has no attempt left at this client.

        Raises:
            TooManyFailuresError: it has none, whatever it sends.
        """
        if not len(self._refused):  # nobody: spare the digest, for this is asked of every request
            return
        until = self._refused.get(entry(_BY_SOURCE, client_id, _site(source_ip)))
        # No window ends later than that: the clock was set back, and must not prolong a refusal.
        if until is not None and 0 < until - now <= self._limits.window:
            raise TooManyFailuresError(ceil(until - now))

    def count_failure(self, client_id: str, source_ip: str, now: float) -> None:
        """Count one failure.

        Raises:
            TooManyFailuresError: it was one too many. Its cause is the error of a counter that
                could not be asked.
            StorageError: it was not one too many, but it could not be counted everywhere.
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
            self._refused.put(entry(_BY_SOURCE, client_id, site), until)
        if by_source > allowed:
            raise TooManyFailuresError(ceil(until - now)) from uncounted
        if uncounted:
            raise uncounted

    def _increment(self, until: int, kind: str, *parts: str) -> int:
        return self._counters.increment(entry(kind, *parts, str(until)), until)


def _site(source_ip: str) -> str:
    """Name a source: an IPv4 address, or the network of 64 bits that one IPv6 customer has."""
    try:
        address = ip_address(source_ip)
    except ValueError:
        return source_ip
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ip_network((address, _IPV6_SITE_BITS), strict=False))
    return str(address)
