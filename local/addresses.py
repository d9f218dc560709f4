"""Where the laptop edition listens, and what its services call each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from infra.local_stack import API_STAGE, AUTH_STAGE, PORTS, url_host
from local.errors import LaptopError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "API_STAGE",
    "AUTH_STAGE",
    "BOUND_API",
    "MUTUAL_TLS",
    "AddressError",
    "Addresses",
    "Service",
]

MUTUAL_TLS = "GATEHOUSE_MTLS"
"""Set for a process that is to serve behind mutual TLS too."""

BOUND_API = "GATEHOUSE_BOUND_API"
"""Set for the console when the bound API is served."""

Service = Literal["auth_server", "guarded_api", "bound_api"]
"""The bound API is the guarded API once more, for tokens that are bound to a key."""

_CONSOLE = "GATEHOUSE_CONSOLE_PORT"
_LAST_PORT = 65_535
_REAL = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


class AddressError(LaptopError):
    """A setting of the laptop edition makes no sense; the message is one sentence."""


@dataclass(frozen=True)
class Addresses:
    """The laptop edition's addresses.

    `host` is the address that servers bind; URLs say `localhost` where that reaches it. `pinned`
    names the services whose port was set explicitly, and `host`.
    """

    host: str = "127.0.0.1"
    auth_port: int = PORTS["GATEHOUSE_AUTH_PORT"]
    api_port: int = PORTS["GATEHOUSE_API_PORT"]
    bound_api_port: int = PORTS["GATEHOUSE_BOUND_API_PORT"]
    aws_port: int = PORTS["GATEHOUSE_AWS_PORT"]
    mtls_auth_port: int = PORTS["GATEHOUSE_MTLS_PORT"]
    mtls_api_port: int = PORTS["GATEHOUSE_MTLS_API_PORT"]
    mtls_bound_api_port: int = PORTS["GATEHOUSE_MTLS_BOUND_API_PORT"]
    console_port: int = PORTS["GATEHOUSE_CONSOLE_PORT"]
    mutual_tls: bool = True
    console: bool = True
    bound_api: bool = True
    aws_endpoint: str | None = None
    pinned: frozenset[str] = frozenset()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Addresses:
        """Read GATEHOUSE_HOST, the ports in PORTS by their names, and AWS_ENDPOINT_URL.

        GATEHOUSE_CONSOLE_PORT may be `off`, for no console.

        Raises:
            AddressError: a port is not a number from 1 to 65535, or two services share one, or the
                endpoint is AWS's own.
        """
        console = environ.get(_CONSOLE) != "off"
        if not console:
            environ = {**environ, _CONSOLE: ""}
        ports = {name: _port(name, environ.get(name), PORTS[name]) for name in PORTS}
        pinned = {
            what
            for what, name in (
                ("auth_server", "GATEHOUSE_AUTH_PORT"),
                ("guarded_api", "GATEHOUSE_API_PORT"),
                ("bound_api", "GATEHOUSE_BOUND_API_PORT"),
                ("host", "GATEHOUSE_HOST"),
                ("mutual_tls", "GATEHOUSE_MTLS_PORT"),
                ("mutual_tls", "GATEHOUSE_MTLS_API_PORT"),
                ("mutual_tls", "GATEHOUSE_MTLS_BOUND_API_PORT"),
                ("console", "GATEHOUSE_CONSOLE_PORT"),
            )
            if environ.get(name)
        }
        addresses = cls(
            host=environ.get("GATEHOUSE_HOST") or cls.host,
            auth_port=ports["GATEHOUSE_AUTH_PORT"],
            api_port=ports["GATEHOUSE_API_PORT"],
            bound_api_port=ports["GATEHOUSE_BOUND_API_PORT"],
            aws_port=ports["GATEHOUSE_AWS_PORT"],
            mtls_auth_port=ports["GATEHOUSE_MTLS_PORT"],
            mtls_api_port=ports["GATEHOUSE_MTLS_API_PORT"],
            mtls_bound_api_port=ports["GATEHOUSE_MTLS_BOUND_API_PORT"],
            console_port=ports["GATEHOUSE_CONSOLE_PORT"],
            console=console,
            aws_endpoint=_endpoint(environ.get("AWS_ENDPOINT_URL")),
            pinned=frozenset(pinned),
        )
        needed = addresses.ports()
        if len(set(needed.values())) != len(needed):
            listed = ", ".join(f"{name}={port}" for name, port in needed.items())
            raise AddressError(f"Each service needs a port of its own: {listed}.")
        return addresses

    def ports(self) -> dict[str, int]:
        """The ports that must be free, by the variable that sets each.

        Those for mutual TLS, the bound API and the console are among them only when they were set:
        they are optional otherwise.
        """
        ports = {
            "GATEHOUSE_AWS_PORT": self.aws_port,
            "GATEHOUSE_AUTH_PORT": self.auth_port,
            "GATEHOUSE_API_PORT": self.api_port,
        }
        if "mutual_tls" in self.pinned:
            ports["GATEHOUSE_MTLS_PORT"] = self.mtls_auth_port
            ports["GATEHOUSE_MTLS_API_PORT"] = self.mtls_api_port
            ports["GATEHOUSE_MTLS_BOUND_API_PORT"] = self.mtls_bound_api_port
        if "bound_api" in self.pinned:
            ports["GATEHOUSE_BOUND_API_PORT"] = self.bound_api_port
        if "console" in self.pinned:
            ports["GATEHOUSE_CONSOLE_PORT"] = self.console_port
        return ports

    def serving(self, service: Service, host: str, port: int) -> Addresses:
        """These addresses, with `service` where it really listens, unless that was set."""
        found = self if "host" in self.pinned else replace(self, host=host)
        if service in self.pinned:
            return found
        if service == "auth_server":
            return replace(found, auth_port=port)
        if service == "bound_api":
            return replace(found, bound_api_port=port)
        return replace(found, api_port=port)

    @property
    def auth_origin(self) -> str:
        """Scheme, host and port of the authorization server."""
        return f"http://{url_host(self.host)}:{self.auth_port}"

    @property
    def api_origin(self) -> str:
        """Scheme, host and port of the guarded API."""
        return f"http://{url_host(self.host)}:{self.api_port}"

    @property
    def bound_api_origin(self) -> str:
        """Scheme, host and port of the bound API."""
        return f"http://{url_host(self.host)}:{self.bound_api_port}"

    @property
    def mtls_auth_server(self) -> str:
        """The authorization server behind mutual TLS; the `iss` of its tokens stays `issuer`."""
        return f"https://{url_host(self.host)}:{self.mtls_auth_port}/{AUTH_STAGE}"

    @property
    def mtls_guarded_api(self) -> str:
        """The guarded API behind mutual TLS."""
        return f"https://{url_host(self.host)}:{self.mtls_api_port}/{API_STAGE}"

    @property
    def mtls_bound_api(self) -> str:
        """The bound API behind mutual TLS, for tokens that are bound to a certificate."""
        return f"https://{url_host(self.host)}:{self.mtls_bound_api_port}/{API_STAGE}"

    def mtls_port(self, service: Service) -> int:
        """Where a service listens for mutual TLS."""
        return {
            "auth_server": self.mtls_auth_port,
            "guarded_api": self.mtls_api_port,
            "bound_api": self.mtls_bound_api_port,
        }[service]

    @property
    def issuer(self) -> str:
        """The authorization server's address, and the `iss` of its tokens."""
        return f"{self.auth_origin}/{AUTH_STAGE}"

    @property
    def guarded_api(self) -> str:
        """The guarded API's address."""
        return f"{self.api_origin}/{API_STAGE}"

    @property
    def bound_api_url(self) -> str:
        """The bound API's address, for tokens that are bound to a DPoP key."""
        return f"{self.bound_api_origin}/{API_STAGE}"

    @property
    def console_url(self) -> str:
        """The console's page, which is on the loopback address whatever `host` is."""
        return f"http://localhost:{self.console_port}"

    @property
    def aws_url(self) -> str:
        """The endpoint that plays AWS: AWS_ENDPOINT_URL, or moto on its port."""
        return self.aws_endpoint or f"http://localhost:{self.aws_port}"


def _endpoint(url: str | None) -> str | None:
    if url and (urlsplit(url).hostname or "").endswith(_REAL):
        raise AddressError(
            "AWS_ENDPOINT_URL leads to AWS itself, which the laptop edition leaves alone: unset it."
        )
    return url or None


def _port(name: str, text: str | None, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) <= _LAST_PORT):
        raise AddressError(f"{name} must be a port number from 1 to {_LAST_PORT}, not {text!r}.")
    return int(text)
