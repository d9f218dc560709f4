"""Find out whether a server of the laptop edition answers yet."""

from __future__ import annotations

import http.client
import time
from urllib.parse import urlsplit

__all__ = ["status_of", "wait_for_key_set"]


def status_of(url: str) -> int | None:
    """Return the status of a GET, None if nothing answers."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", address.path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_for_key_set(issuer: str) -> None:
    """Return when the authorization server publishes its keys."""
    while status_of(f"{issuer}/oauth2/jwks") != http.client.OK:
        time.sleep(0.05)
