"""The laptop edition's addresses: settings, URLs, and checks that its ports are free; its AWS account."""

import os
import socket
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from infra.local_stack import (
    API_STAGE,
    AUTH_STAGE,
    PORT_BASE,
    PORTS,
    REGION,
    STACK_NAME,
    read_access_key,
    read_port,
    url_host,
)
from local.cli import LaptopError

MUTUAL_TLS = "GATEHOUSE_MTLS"
"""Set for a process that also serves behind mutual TLS."""

BOUND_API = "GATEHOUSE_BOUND_API"
"""Set for the console if the bound API is served."""

Service = Literal["auth_server", "guarded_api", "bound_api"]
"""The bound API is a second guarded API, for key-bound tokens."""

CONTROL_SOCKETS = "GATEHOUSE_CONTROL_SOCKETS"
"""Names the folder of the control sockets through which the console inspects the processes."""

LOOPBACK = "127.0.0.1"
_CONSOLE = "GATEHOUSE_CONSOLE_PORT"
_AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")

# Variable → the field of `Addresses`, and the name in `pinned`.
_FIELDS = {
    "GATEHOUSE_AWS_PORT": ("aws_port", "aws"),
    "GATEHOUSE_AUTH_PORT": ("auth_port", "auth_server"),
    "GATEHOUSE_API_PORT": ("api_port", "guarded_api"),
    "GATEHOUSE_MTLS_PORT": ("mtls_auth_port", "mutual_tls"),
    "GATEHOUSE_MTLS_API_PORT": ("mtls_api_port", "mutual_tls"),
    "GATEHOUSE_MTLS_BOUND_API_PORT": ("mtls_bound_api_port", "mutual_tls"),
    "GATEHOUSE_BOUND_API_PORT": ("bound_api_port", "bound_api"),
    _CONSOLE: ("console_port", "console"),
}
_PORT_FIELDS: Mapping[Service, str] = {
    "auth_server": "auth_port",
    "guarded_api": "api_port",
    "bound_api": "bound_api_port",
}
_REQUIRED = ("aws", "auth_server", "guarded_api")


@dataclass(frozen=True, slots=True)
class AwsAccount:
    """An account and a region, for CloudFormation's pseudo parameters and for ARNs."""

    account_id: str
    region: str
    partition: str = "aws"
    url_suffix: str = "amazonaws.com"
    stack_name: str = STACK_NAME

    def pseudo_parameters(self) -> dict[str, str]:
        """Return the values of `AWS::Region` and the other pseudo parameters."""
        stack = f"stack/{self.stack_name}/00000000-0000-0000-0000-000000000000"
        return {
            "AWS::AccountId": self.account_id,
            "AWS::Region": self.region,
            "AWS::Partition": self.partition,
            "AWS::URLSuffix": self.url_suffix,
            "AWS::StackName": self.stack_name,
            "AWS::StackId": self._arn("cloudformation", stack),
        }

    def function_arn(self, name: str) -> str:
        """Return the ARN of a Lambda function."""
        return self._arn("lambda", f"function:{name}")

    def execute_api_arn(self, api_id: str, stage: str, method: str, path: str) -> str:
        """Return the ARN of a method of an API; `path` begins with a slash."""
        return self._arn("execute-api", f"{api_id}/{stage}/{method}{path}")

    def _arn(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{resource}"


# moto's default account.
LAPTOP = AwsAccount(account_id="123456789012", region=REGION)


class AddressError(LaptopError):
    """A setting of the laptop edition is not valid."""


@dataclass(frozen=True)
class Addresses:
    """The laptop edition's addresses.

    `host` is the address that servers bind. URLs use `localhost` if that reaches it. `pinned` names the services whose
    port was set explicitly, and `host`.
    """

    host: str = LOOPBACK
    auth_port: int = PORTS["GATEHOUSE_AUTH_PORT"]
    api_port: int = PORTS["GATEHOUSE_API_PORT"]
    bound_api_port: int = PORTS["GATEHOUSE_BOUND_API_PORT"]
    aws_port: int = PORTS["GATEHOUSE_AWS_PORT"]
    mtls_auth_port: int = PORTS["GATEHOUSE_MTLS_PORT"]
    mtls_api_port: int = PORTS["GATEHOUSE_MTLS_API_PORT"]
    mtls_bound_api_port: int = PORTS["GATEHOUSE_MTLS_BOUND_API_PORT"]
    console_port: int = PORTS[_CONSOLE]
    mutual_tls: bool = True
    console: bool = True
    bound_api: bool = True
    aws_endpoint: str | None = None
    pinned: frozenset[str] = frozenset()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read GATEHOUSE_HOST, GATEHOUSE_PORT_BASE, the ports in PORTS by their names, and AWS_ENDPOINT_URL.

        GATEHOUSE_CONSOLE_PORT=off disables the console.

        Raises:
            AddressError: a port is not valid, two services share one, or the endpoint is AWS.
        """
        console = environ.get(_CONSOLE) != "off"
        if not console:
            environ = {**environ, _CONSOLE: ""}
        parts = {"GATEHOUSE_HOST": "host", **{name: part for name, (_, part) in _FIELDS.items() if part != "aws"}}
        pinned = frozenset(part for name, part in parts.items() if environ.get(name))
        try:
            ports: dict[str, Any] = {field: read_port(environ, name) for name, (field, _) in _FIELDS.items()}
        except ValueError as error:
            raise AddressError(f"{error}.") from error
        addresses = cls(
            host=environ.get("GATEHOUSE_HOST") or LOOPBACK,
            console=console,
            aws_endpoint=_endpoint(environ.get("AWS_ENDPOINT_URL")),
            pinned=pinned,
            **ports,
        )
        needed = addresses.ports()
        if len(set(needed.values())) != len(needed):
            listed = ", ".join(f"{name}={port}" for name, port in needed.items())
            raise AddressError(f"Each service needs a port of its own: {listed}.")
        return addresses

    def ports(self) -> dict[str, int]:
        """Return the ports that must be free, by the variable that sets each.

        The ports for mutual TLS, the bound API and the console are optional unless they are set.
        """
        return {
            name: getattr(self, field)
            for name, (field, part) in _FIELDS.items()
            if part in _REQUIRED or part in self.pinned
        }

    def serving(self, service: Service, host: str, port: int) -> Self:
        """Return these addresses with the address on which `service` listens, unless it was set."""
        found = self if "host" in self.pinned else replace(self, host=host)
        fields: dict[str, Any] = {} if service in self.pinned else {_PORT_FIELDS[service]: port}
        return replace(found, **fields)

    def mtls_port(self, service: Service) -> int:
        """Return the port on which a service listens for mutual TLS."""
        return int(getattr(self, f"mtls_{_PORT_FIELDS[service]}"))

    def origin(self, service: Service) -> str:
        """Return scheme, host and port of a service."""
        return f"http://{url_host(self.host)}:{getattr(self, _PORT_FIELDS[service])}"

    def _mtls_origin(self, service: Service) -> str:
        return f"https://{url_host(self.host)}:{self.mtls_port(service)}"

    @property
    def issuer(self) -> str:
        """The authorization server's address, and the `iss` of its tokens."""
        return f"{self.origin('auth_server')}/{AUTH_STAGE}"

    @property
    def guarded_api(self) -> str:
        """The guarded API's address."""
        return f"{self.origin('guarded_api')}/{API_STAGE}"

    @property
    def bound_api_url(self) -> str:
        """The bound API's address, for tokens bound to a DPoP key."""
        return f"{self.origin('bound_api')}/{API_STAGE}"

    @property
    def mtls_auth_server(self) -> str:
        """The authorization server behind mutual TLS. The `iss` of its tokens is `issuer`."""
        return f"{self._mtls_origin('auth_server')}/{AUTH_STAGE}"

    @property
    def mtls_guarded_api(self) -> str:
        """The guarded API behind mutual TLS."""
        return f"{self._mtls_origin('guarded_api')}/{API_STAGE}"

    @property
    def mtls_bound_api(self) -> str:
        """The bound API behind mutual TLS, for tokens bound to a certificate."""
        return f"{self._mtls_origin('bound_api')}/{API_STAGE}"

    @property
    def console_url(self) -> str:
        """The console's page, always on the loopback address."""
        return f"http://localhost:{self.console_port}"

    @property
    def aws_url(self) -> str:
        """The endpoint of the laptop's AWS: AWS_ENDPOINT_URL, or moto on its port."""
        return self.aws_endpoint or f"http://localhost:{self.aws_port}"


def use_local_aws(environ: MutableMapping[str, str], addresses: Addresses, access_key: str | None = None) -> None:
    """Point every AWS SDK that reads `environ` at the laptop's AWS.

    Default for `access_key`: the one that moto has written for this run. The developer's AWS settings (credentials,
    profiles, endpoints) are removed, because this process must never reach a real account.
    """
    if access_key is None and addresses.aws_endpoint is None:
        access_key = read_access_key(addresses.aws_port)
    for name in [name for name in environ if name.startswith("AWS_")]:
        del environ[name]
    environ.update(
        {
            "AWS_ENDPOINT_URL": addresses.aws_url,
            "AWS_ACCESS_KEY_ID": access_key or "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": LAPTOP.region,
            "AWS_DEFAULT_REGION": LAPTOP.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
            # A proxy must not be used between processes of this machine.
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
    )


def with_free_ports(addresses: Addresses) -> Addresses:
    """Return the addresses without the optional services whose ports are taken.

    Raises:
        LaptopError: a required port is taken, or the host cannot be used.
    """
    _check_localhost()
    if reason := why_not_listen(addresses.host, 0):
        raise LaptopError(f"GATEHOUSE_HOST={addresses.host} cannot be listened on ({reason}).")
    for variable, port in addresses.ports().items():
        if reason := why_not_listen(addresses.host, port):
            raise LaptopError(
                f"Cannot listen on {addresses.host}:{port} ({reason}): "
                f"stop the process that uses it, or set another port with {variable}, or all ports with {PORT_BASE}."
            )

    def is_free(host: str, *ports: int) -> bool:
        return not any(why_not_listen(host, port) for port in ports)

    host = addresses.host
    mtls = (addresses.mtls_auth_port, addresses.mtls_api_port, addresses.mtls_bound_api_port)
    return replace(
        addresses,
        mutual_tls=is_free(host, *mtls),
        bound_api=is_free(host, addresses.bound_api_port),
        console=addresses.console and is_free(LOOPBACK, addresses.console_port),
    )


def why_not_listen(host: str, port: int) -> str | None:
    """Return why a port cannot be listened on, None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # The servers set it, too: a port is free while its last connections are closing.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror
    return None


def _check_localhost() -> None:
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo("localhost", None)}
    except OSError:
        found = set()
    if LOOPBACK not in found:
        raise LaptopError(
            f"The name localhost does not resolve to {LOOPBACK} on this machine: "
            f"add the line '{LOOPBACK} localhost' to /etc/hosts."
        )


def _endpoint(url: str | None) -> str | None:
    if url and (urlsplit(url).hostname or "").endswith(_AWS_DOMAINS):
        raise AddressError("AWS_ENDPOINT_URL is a real AWS endpoint, which the laptop edition must not use: unset it.")
    return url or None
