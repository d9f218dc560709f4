"""Which addresses a URL from a client's registration may lead to: the public internet's only.

It is asked about the address that is connected to, after the name was looked up. A check of the
name before would leave room for a second look-up with another answer.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

ON_LOOPBACK: Final = "loopback"
"""The value of the setting `remote_keys` that lets keys be fetched from this machine too."""

_NAT64: Final = ip_network("64:ff9b::/96")
_SITE_LOCAL: Final = ip_network("fec0::/10")
"""Private addresses of old, RFC 3879: given up, and so not among those that are not global."""


class ForbiddenAddressError(OSError):
    """Raised when a name leads to an address that is not public."""


def require_public(address: str) -> None:
    """Return if an address is one of the public internet.

    Private networks, loopback, link-local (the instance metadata service's), carrier-grade NAT,
    multicast and reserved ranges are not, nor are IPv6 addresses that lead to one of them.

    Raises:
        ForbiddenAddressError: it is not.
    """
    found = _reached(ip_address(address))
    if not found.is_global or found.is_multicast or found.is_reserved or found in _SITE_LOCAL:
        raise ForbiddenAddressError("not a public address")


def require_public_or_loopback(address: str) -> None:
    """Return if an address is public or this machine's own: the laptop edition's rule.

    Raises:
        ForbiddenAddressError: it is neither.
    """
    if not ip_address(address).is_loopback:
        require_public(address)


def _reached(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, if it stands for one."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
