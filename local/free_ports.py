"""Which ports the laptop edition can have, and what it leaves out when it cannot have them."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from local.errors import LaptopError

if TYPE_CHECKING:
    from local.addresses import Addresses

__all__ = [
    "refuse_taken_ports",
    "without_taken_bound_api",
    "without_taken_console",
    "without_taken_mutual_tls",
]

_LOOPBACK = "127.0.0.1"


def refuse_taken_ports(addresses: Addresses) -> None:
    """Raise LaptopError when we cannot listen where we want to."""
    refuse_unknown_localhost()
    refuse_unusable_host(addresses.host)
    for variable, port in addresses.ports().items():
        trouble = why_not_listen(addresses.host, port)
        if trouble:
            raise LaptopError(
                f"Cannot listen on {addresses.host}:{port} ({trouble}): "
                f"end what uses it, or choose another port with {variable}."
            )


def refuse_unknown_localhost() -> None:
    """Raise LaptopError where the name by which services find each other leads elsewhere."""
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo("localhost", None)}
    except OSError:
        found = set()
    if _LOOPBACK not in found:
        raise LaptopError(
            f"On this machine the name localhost does not stand for {_LOOPBACK}: "
            f"add the line '{_LOOPBACK} localhost' to /etc/hosts."
        )


def refuse_unusable_host(host: str) -> None:
    """Raise LaptopError when the bind address is none of this machine's."""
    trouble = why_not_listen(host, 0)
    if trouble:
        raise LaptopError(f"GATEHOUSE_HOST is {host}, where nothing can listen ({trouble}).")


def why_not_listen(host: str, port: int) -> str | None:
    """Say why a port cannot be listened on, or None when it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror
    return None


def without_taken_mutual_tls(addresses: Addresses) -> Addresses:
    """Leave mutual TLS out when its ports are taken and nobody asked for just these."""
    ports = (addresses.mtls_auth_port, addresses.mtls_api_port, addresses.mtls_bound_api_port)
    taken = any(why_not_listen(addresses.host, port) for port in ports)
    return replace(addresses, mutual_tls=not taken)


def without_taken_bound_api(addresses: Addresses) -> Addresses:
    """Leave the bound API out when its port is taken and was not set."""
    taken = why_not_listen(addresses.host, addresses.bound_api_port)
    return replace(addresses, bound_api=not taken)


def without_taken_console(addresses: Addresses) -> Addresses:
    """Leave the console out when its port is taken and nobody asked for just this one."""
    taken = why_not_listen(_LOOPBACK, addresses.console_port)
    return replace(addresses, console=addresses.console and not taken)
