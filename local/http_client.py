"""HTTP client of the laptop edition. Every request can be printed as a curl command."""

import base64
import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from infra.cli.http_client import Certificates, Web
from local import ROOT


@dataclass(frozen=True, slots=True)
class ShellValue:
    """A value that a curl command does not contain: bash computes it from an expression."""

    value: str
    expression: str


Value = str | ShellValue


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A GET request, or with a `form` a POST of application/x-www-form-urlencoded.

    `user` is a name and a password for HTTP Basic authentication, separated by a colon.
    """

    url: str
    headers: Mapping[str, Value] = field(default_factory=dict)
    form: Mapping[str, Value] | None = None
    user: str | None = field(default=None, repr=False)
    certificates: Certificates | None = None

    @property
    def method(self) -> str:
        """GET, or POST with a form."""
        return "GET" if self.form is None else "POST"

    def as_curl(self) -> str:
        """Return the curl command for this request, for bash in the repository's folder."""
        lines = [f"curl -i {shlex.quote(self.url)}"]
        if self.user is not None:
            lines.append(f"--user {shlex.quote(self.user)}")
        if self.certificates:
            files = (("--cacert", self.certificates.authority), ("--cert", self.certificates.certificate))
            lines += [f"{option} {_relative(path)}" for option, path in files if path]
        lines += [f"--header {_quoted(f'{name}: ', value)}" for name, value in self.headers.items()]
        lines += [f"--data-urlencode {_quoted(f'{name}=', value)}" for name, value in (self.form or {}).items()]
        return " \\\n  ".join(lines)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The response to a request."""

    status: int
    reason: str
    headers: Message
    text: str
    milliseconds: float

    @property
    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.text)


def send(request: HttpRequest, timeout: float = 30.0) -> HttpResponse:
    """Send a request over a connection of its own.

    Raises:
        OSError: there is no response.
        HTTPException: the response is not HTTP.
    """
    headers = plain(request.headers)
    body = None
    if request.user is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(request.user.encode()).decode()}"
    if request.form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(plain(request.form)).encode()
    started = time.perf_counter()
    answer = Web(request.certificates, timeout).exchange(request.method, request.url, headers, body)
    milliseconds = (time.perf_counter() - started) * 1000
    text = answer.body.decode("utf-8", "replace")
    return HttpResponse(answer.status, answer.reason, answer.headers, text, milliseconds)


def status_of(url: str) -> int | None:
    """Return the status of a GET request, None without a response."""
    try:
        return send(HttpRequest(url), timeout=5).status
    except (OSError, HTTPException):
        return None


def plain(values: Mapping[str, Value]) -> dict[str, str]:
    """Return the values as they are sent."""
    return {name: value.value if isinstance(value, ShellValue) else value for name, value in values.items()}


def _relative(path: Path) -> str:
    return shlex.quote(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))


def _quoted(prefix: str, value: Value) -> str:
    """Quote for bash. An expression is in double quotes, because bash must expand it."""
    if isinstance(value, ShellValue):
        return f'"{prefix}{value.expression}"'
    return shlex.quote(prefix + value)
