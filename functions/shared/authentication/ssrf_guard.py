"""SSRF guard: URLs in client registrations may lead to public IP addresses only.

The check applies to the address of the connection, after the name was resolved. A check of the name
would allow a second DNS look-up to return another address.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

ON_LOOPBACK = "loopback"
"""Value of the setting `remote_keys` that also allows JWK Sets on this machine."""

_NAT64 = ip_network("64:ff9b::/96")
_SITE_LOCAL = ip_network("fec0::/10")
"""Deprecated private addresses, RFC 3879, which `is_global` includes."""


class ForbiddenAddressError(OSError):
    """Raised when a name resolves to an address that is not public."""


def require_public(address: str) -> None:
    """Check that an IP address is public.

    Private, loopback, link-local (instance metadata), shared (carrier-grade NAT), multicast and
    reserved addresses are not, nor IPv6 addresses that embed one.

    Raises:
        ForbiddenAddressError: it is not public.
    """
    found = _embedded(ip_address(address))
    if not found.is_global or found.is_multicast or found.is_reserved or found in _SITE_LOCAL:
        raise ForbiddenAddressError("not a public address")


def require_public_or_loopback(address: str) -> None:
    """Check that an IP address is public or this machine's, which the laptop edition allows.

    Raises:
        ForbiddenAddressError: it is neither.
    """
    if not ip_address(address).is_loopback:
        require_public(address)


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address embeds, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
