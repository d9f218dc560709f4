"""An HTTP client without redirects: each status is a response, not an error."""

import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import BaseHandler, HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from .errors import LOOPBACK, NotFoundError, UnreachableError, UsageError

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Response:
    """A response with any status."""

    status: int
    reason: str
    headers: Message
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):  # the latter for one that is nested too deeply
            return None

    def member(self, name: str) -> object:
        """Return a member of a JSON object; None if it is missing."""
        document = self.json
        return document.get(name) if isinstance(document, dict) else None


@dataclass(frozen=True)
class Certificates:
    """Files for mutual TLS: the client's certificate and key, and the server's CA.

    Default for `key`: in the certificate's file. Default for `authority`: the system's CAs.
    """

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings; raises NotFoundError, UsageError."""
        try:
            context = ssl.create_default_context(cafile=self.authority)
            if self.certificate is not None:
                # An empty password, so that an encrypted key is rejected without a prompt.
                context.load_cert_chain(self.certificate, self.key, password="")
        except ssl.SSLError as error:
            raise UsageError(
                f"The certificate or key cannot be used: {error.reason or error}.",
                "Both are PEM, and a key must not have a password.",
            ) from error
        except OSError as error:
            raise NotFoundError(f"A certificate's file cannot be read: {error.strerror}.") from error
        return context


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect, so that credentials are sent to one address only."""

    def redirect_request(self, *_: object) -> None:
        return None


class Web:
    """Sends requests through the configured proxy; to this machine directly."""

    def __init__(self, certificates: Certificates | None = None, timeout: float = 10) -> None:
        self._certificates = certificates or Certificates()
        self._timeout = timeout

    def ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """Return the response to a request; raises UnreachableError."""
        try:
            return self.exchange(method, url, headers, body)
        except (OSError, HTTPException, ValueError) as error:
            raise UnreachableError(url, getattr(error, "strerror", None) or error) from error

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """Return the response to a request.

        Raises:
            OSError: there is no response.
            HTTPException: the response is not HTTP.
            ValueError: the URL is not valid.
        """
        if urlsplit(url).scheme not in {"http", "https"}:  # urllib would read files as well
            raise ValueError(f"{url} is not an HTTP URL")
        request = Request(url, body, dict(headers or {}), method=method)  # noqa: S310 - as asked
        try:
            with build_opener(*self._handlers(url)).open(request, timeout=self._timeout) as response:
                return Response(response.status, response.reason, response.headers, response.read(_MOST_BYTES))
        except HTTPError as answer:
            with answer:
                return Response(answer.code, answer.reason, answer.headers, answer.read(_MOST_BYTES))
        except URLError as error:
            raise (error.reason if isinstance(error.reason, OSError) else error) from error

    def _handlers(self, url: str) -> Iterator[BaseHandler]:
        parts = urlsplit(url)
        yield _NoRedirects()
        if parts.hostname in LOOPBACK:
            yield ProxyHandler({})
        if parts.scheme == "https":
            yield HTTPSHandler(context=self._context)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        # Cached, because loading the system's CAs is slow.
        return self._certificates.context()
