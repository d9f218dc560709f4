"""The gate in front of moto: it admits processes of this user, and neither web pages nor others.

moto holds private signing keys and accepts any credentials. A page in a browser can send requests
to a port of the loopback address, under a name of its own too (DNS rebinding), and so can every
user of the machine. The gate therefore requires the access key of this run.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from infra.local_stack import access_key_file
from local.cli import LaptopError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

__all__ = ["AwsGate", "authorization"]

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/")
_SENT_BY_BROWSERS = ("HTTP_ORIGIN", "HTTP_SEC_FETCH_")


class AwsGate:
    """Admits signed requests of this run. Until `open` all others get 503."""

    def __init__(self, port: int) -> None:
        self.access_key = f"LAPTOP{secrets.token_hex(16).upper()}"
        self._port = port
        self._hosts = frozenset(f"{name}:{port}" for name in ("localhost", "127.0.0.1"))
        self._is_open = False

    def open(self) -> None:
        """Write the access key where this user's processes find it.

        Raises:
            LaptopError: its folder belongs to another user.
        """
        _write_private(access_key_file(self._port), self.access_key)
        self._is_open = True

    def close(self) -> None:
        """Remove the access key, unless a later run has replaced it."""
        file = access_key_file(self._port)
        with suppress(FileNotFoundError):
            if file.read_text(encoding="ascii") == self.access_key:
                file.unlink()

    def in_front_of(self, application: Wsgi) -> Wsgi:
        """Return an application that passes admitted requests on to this one."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            problem = self._why_not(environ)
            if problem is None:
                return application(environ, start)
            status, kind, message = problem
            start(status, [("Content-Type", "application/x-amz-json-1.1")])
            return [json.dumps({"__type": kind, "message": message}).encode()]

        return answer

    def _why_not(self, environ: dict[str, Any]) -> tuple[str, str, str] | None:
        """Return the status, the type and the message of a refusal, None for an admission."""
        refused = "403 Forbidden", "AccessDeniedException"
        is_signed = self._is_signed(environ.get("HTTP_AUTHORIZATION", ""))
        if not (self._is_open or is_signed):
            return "503 Service Unavailable", "ServiceUnavailable", "AWS (moto) is starting."
        if any(name.startswith(_SENT_BY_BROWSERS) for name in environ):
            return *refused, "The laptop's AWS does not serve web pages."
        if environ.get("HTTP_HOST", "").lower() not in self._hosts:
            return *refused, "The Host header is not an address of the laptop's AWS."
        if not is_signed:
            file = access_key_file(self._port)
            return refused[0], "UnrecognizedClientException", f"The access key is in {file}."
        if any(part.startswith("moto-api") for part in environ.get("PATH_INFO", "").split("/")):
            return *refused, "moto's own API is switched off."
        return None

    def _is_signed(self, header: str) -> bool:
        found = _CREDENTIAL.match(header)
        return found is not None and hmac.compare_digest(
            found[1].encode(), self.access_key.encode()
        )


def authorization(access_key: str | None) -> dict[str, str]:
    """Return the header with which a process without an AWS SDK names the access key."""
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={access_key}/"} if access_key else {}


def _write_private(file: Path, text: str) -> None:
    """Write a file for this user only, in one step.

    Raises:
        LaptopError: its folder is not this user's alone. Anybody may create one in /tmp.
    """
    with suppress(FileExistsError):
        file.parent.mkdir(mode=0o700)
    found = file.parent.lstat()
    is_private = stat.S_ISDIR(found.st_mode) and found.st_mode & 0o777 == 0o700
    if not is_private or found.st_uid != os.getuid():
        raise LaptopError(f"{file.parent} is not a folder of yours with mode 0700: remove it.")
    made = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
    made.replace(file)
