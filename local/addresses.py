"""Where the laptop edition listens, and what its services call each other."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from local.errors import LaptopError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["API_STAGE", "AUTH_STAGE", "AddressError", "Addresses", "Service"]

AUTH_STAGE = "ms-auth-server"
API_STAGE = "ms-system"

Service = Literal["auth_server", "guarded_api"]

_PORTS = {
    "GATEHOUSE_AUTH_PORT": 8085,
    "GATEHOUSE_API_PORT": 8091,
    "GATEHOUSE_AWS_PORT": 8095,
}
_LAST_PORT = 65_535


class AddressError(LaptopError):
    """A setting of the laptop edition makes no sense; the message is one sentence."""


@dataclass(frozen=True)
class Addresses:
    """The laptop edition's addresses.

    `host` is the address that servers bind; URLs say `localhost` where it is a loopback or a
    wildcard address. `pinned` names the services whose port was set explicitly, and `host`.
    """

    host: str = "127.0.0.1"
    auth_port: int = _PORTS["GATEHOUSE_AUTH_PORT"]
    api_port: int = _PORTS["GATEHOUSE_API_PORT"]
    aws_port: int = _PORTS["GATEHOUSE_AWS_PORT"]
    aws_endpoint: str | None = None
    pinned: frozenset[str] = frozenset()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Addresses:
        """Read GATEHOUSE_HOST, GATEHOUSE_AUTH_PORT, _API_PORT, _AWS_PORT and AWS_ENDPOINT_URL.

        Raises:
            AddressError: a port is not a number from 1 to 65535, or two services share one.
        """
        ports = {name: _port(name, environ.get(name), _PORTS[name]) for name in _PORTS}
        if len(set(ports.values())) != len(ports):
            listed = ", ".join(f"{name}={port}" for name, port in ports.items())
            raise AddressError(f"Each service needs a port of its own: {listed}.")
        pinned = {
            what
            for what, name in (
                ("auth_server", "GATEHOUSE_AUTH_PORT"),
                ("guarded_api", "GATEHOUSE_API_PORT"),
                ("host", "GATEHOUSE_HOST"),
            )
            if environ.get(name)
        }
        return cls(
            host=environ.get("GATEHOUSE_HOST") or cls.host,
            auth_port=ports["GATEHOUSE_AUTH_PORT"],
            api_port=ports["GATEHOUSE_API_PORT"],
            aws_port=ports["GATEHOUSE_AWS_PORT"],
            aws_endpoint=environ.get("AWS_ENDPOINT_URL") or None,
            pinned=frozenset(pinned),
        )

    def serving(self, service: Service, host: str, port: int) -> Addresses:
        """These addresses, with `service` where it really listens, unless that was set."""
        found = self if "host" in self.pinned else replace(self, host=host)
        if service in self.pinned:
            return found
        if service == "auth_server":
            return replace(found, auth_port=port)
        return replace(found, api_port=port)

    @property
    def auth_origin(self) -> str:
        """Scheme, host and port of the authorization server."""
        return f"http://{_url_host(self.host)}:{self.auth_port}"

    @property
    def api_origin(self) -> str:
        """Scheme, host and port of the guarded API."""
        return f"http://{_url_host(self.host)}:{self.api_port}"

    @property
    def issuer(self) -> str:
        """The authorization server's address, and the `iss` of its tokens."""
        return f"{self.auth_origin}/{AUTH_STAGE}"

    @property
    def guarded_api(self) -> str:
        """The guarded API's address."""
        return f"{self.api_origin}/{API_STAGE}"

    @property
    def aws_url(self) -> str:
        """The endpoint that plays AWS: AWS_ENDPOINT_URL, or moto on its port."""
        return self.aws_endpoint or f"http://localhost:{self.aws_port}"


def _port(name: str, text: str | None, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) <= _LAST_PORT):
        raise AddressError(f"{name} must be a port number from 1 to {_LAST_PORT}, not {text!r}.")
    return int(text)


def _url_host(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_loopback or address.is_unspecified:
        return "localhost"
    return f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004 - IPv6
