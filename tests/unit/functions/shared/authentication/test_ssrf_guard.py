import pytest

from functions.shared.authentication.ssrf_guard import ForbiddenAddressError, require_public, require_public_or_loopback


@pytest.mark.parametrize("address", ["8.8.8.8", "140.82.121.4", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_address_is_allowed(address: str) -> None:
    require_public(address)
    require_public_or_loopback(address)


FORBIDDEN = {
    "private": ["10.0.0.1", "172.16.0.1", "192.168.1.1", "fd00::1"],
    "link-local": ["169.254.0.1", "fe80::1", "fe80::1%eth0"],
    "instance metadata": ["169.254.169.254", "fd00:ec2::254"],
    "carrier-grade NAT": ["100.64.0.1"],
    "reserved": ["0.0.0.1", "::", "192.0.2.1", "2001:db8::1", "240.0.0.1", "255.255.255.255"],
    "not given out": ["fec0::1", "4000::1"],
    "multicast": ["224.0.0.1", "ff02::1", "ff0e::1"],
    "wrapped": [
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:a00:1::",
        "2001:0:a00:1::",
    ],
}


@pytest.mark.parametrize("address", [each for group in FORBIDDEN.values() for each in group])
def test_other_addresses_are_blocked(address: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        require_public(address)
    with pytest.raises(ForbiddenAddressError):
        require_public_or_loopback(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_is_allowed_on_a_laptop_only(address: str) -> None:
    require_public_or_loopback(address)
    with pytest.raises(ForbiddenAddressError):
        require_public(address)


def test_other_names_of_this_machine_are_blocked() -> None:
    with pytest.raises(ForbiddenAddressError):
        require_public("::ffff:127.0.0.1")
