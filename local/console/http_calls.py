"""HTTP calls that the console makes, each as the curl line that makes it too."""

from __future__ import annotations

import http.client
import shlex
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answer", "Call", "Certificate", "Recipe", "send"]

ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT = 15.0
# Headers that say nothing about the story.
_DULL = frozenset({"date", "server", "content-length", "connection", "x-amz-apigw-id"})


@dataclass(frozen=True)
class Certificate:
    """What a connection with mutual TLS needs: whom to trust, and whom to be. PEM files."""

    authority: Path
    client: Path


@dataclass(frozen=True)
class Recipe:
    """A value that can be sent once only, and the shell command that makes another."""

    value: str
    command: str


@dataclass(frozen=True)
class Call:
    """One HTTP request; a `form` makes it a POST of application/x-www-form-urlencoded."""

    url: str
    headers: Mapping[str, str | Recipe] = field(default_factory=dict)
    form: Mapping[str, str | Recipe] | None = None
    certificate: Certificate | None = None

    @property
    def method(self) -> str:
        """GET, or POST when there is a form."""
        return "GET" if self.form is None else "POST"

    def as_curl(self) -> str:
        """Return the command that makes this call, for bash."""
        lines = [f"curl -i {shlex.quote(self.url)}"]
        if self.certificate:
            lines.append(f"--cacert {_in_repository(self.certificate.authority)}")
            lines.append(f"--cert {_in_repository(self.certificate.client)}")
        lines += [f"--header {_quoted(f'{name}: ', value)}" for name, value in self.headers.items()]
        fields = self.form or {}
        lines += [
            f"--data-urlencode {_quoted(f'{name}=', value)}" for name, value in fields.items()
        ]
        return " \\\n  ".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return what the page shows of the request."""
        return {
            "method": self.method,
            "url": self.url,
            "headers": {name: _value(value) for name, value in self.headers.items()},
            "form": {name: _value(value) for name, value in (self.form or {}).items()},
            "curl": self.as_curl(),
        }


@dataclass(frozen=True)
class Answer:
    """The answer to a call."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: str
    milliseconds: float

    def to_json(self) -> dict[str, Any]:
        """Return what the page shows of the answer."""
        shown = {name: value for name, value in self.headers.items() if name not in _DULL}
        return {
            "status": self.status,
            "reason": self.reason,
            "headers": shown,
            "body": self.body,
            "milliseconds": self.milliseconds,
        }


def send(call: Call) -> Answer:
    """Make a call, over a connection of its own. Header names of the answer are in lower case.

    Raises:
        OSError: nobody answers.
        http.client.HTTPException: what answers does not speak HTTP.
    """
    address = urlsplit(call.url)
    connection = _connection(call, address.hostname or "", address.port)
    headers = {name: _value(value) for name, value in call.headers.items()}
    body = None
    if call.form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode({name: _value(value) for name, value in call.form.items()})
    target = f"{address.path}?{address.query}" if address.query else address.path
    started = time.perf_counter()
    try:
        connection.request(call.method, target, body, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    finally:
        connection.close()
    seconds = time.perf_counter() - started
    received = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, response.reason, received, text, seconds * 1000)


def _connection(call: Call, host: str, port: int | None) -> http.client.HTTPConnection:
    if call.certificate is None:
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    context = ssl.create_default_context(cafile=str(call.certificate.authority))
    context.load_cert_chain(call.certificate.client)
    return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)


def _in_repository(path: Path) -> str:
    """Write a path as it is from the repository's folder, where curl lines are meant to be run."""
    return shlex.quote(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))


def _value(value: str | Recipe) -> str:
    return value.value if isinstance(value, Recipe) else value


def _quoted(prefix: str, value: str | Recipe) -> str:
    """Quote for bash; what a command makes is made when the line is run."""
    if isinstance(value, Recipe):
        return f'"{prefix}$({value.command})"'
    return shlex.quote(prefix + value)
