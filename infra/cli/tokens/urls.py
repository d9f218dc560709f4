"""Addresses of a guarded API's paths."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from infra.cli.deployment.lookup import port
from infra.cli.terminal.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from infra.cli.session import Session


def guarded_url(session: Session, path: str, *, with_certificate: bool) -> str:
    """Return the address of a path of the deployment's own guarded API.

    On a laptop mutual TLS has a port of its own; in an account the API's name asks for it.

    Raises:
        UsageError: that is no path.
        NotFoundError: the stack has no such API.
    """
    address = session.deployment.guarded_api
    if not address:
        raise NotFoundError(
            f"The stack {session.deployment.name} has no sample API (SampleApi=false).",
            "Take the token alone, without --headers and --curl.",
        )
    if session.deployment.is_local and with_certificate:
        parts = urlsplit(address)
        tls_port = port(session.outside.environ, "GATEHOUSE_MTLS_API_PORT")
        address = urlunsplit(("https", f"{parts.hostname}:{tls_port}", parts.path, "", ""))
    return address_of(address, path)


def address_of(api: str, path: str) -> str:
    """Return the address of a path of an API.

    Raises:
        UsageError: that is no path.
    """
    if not path.startswith("/"):
        raise UsageError(f"{path!r} is no path of the API.", "Such as: --request GET /country.")
    return api + path
