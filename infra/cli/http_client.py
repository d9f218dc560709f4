"""Plain HTTP: what was asked is what was sent, and whatever comes back is an answer."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    BaseHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from infra.cli.errors import LOOPBACK, NotFoundError, UnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message
    from pathlib import Path


_SECONDS: Final = 10
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, whatever its status."""

    status: int
    headers: Message
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the server says
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):  # the latter for one that is nested too deeply
            return None

    def member(self, name: str) -> object:
        """Return a member of a JSON object; None where there is none."""
        document = self.json
        return document.get(name) if isinstance(document, dict) else None


@dataclass(frozen=True)
class Certificates:
    """Files for mutual TLS: a client's certificate and key, and whom to trust as the server.

    `key` is None where the certificate's file has the key, `authority` where the system knows it.
    """

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings.

        Raises:
            NotFoundError: a file cannot be read.
            UsageError: it holds no certificate, or a key that is not the certificate's.
        """
        try:
            context = ssl.create_default_context(cafile=self.authority)
            if self.certificate is not None:
                # Never asks at the terminal: a key with a password is refused.
                context.load_cert_chain(self.certificate, self.key, password="")
        except ssl.SSLError as error:
            raise UsageError(
                f"The certificate or key cannot be used: {error.reason or error}.",
                "Both are PEM, and a key must not have a password.",
            ) from error
        except OSError as error:
            raise NotFoundError(
                f"A certificate's file cannot be read: {error.strerror}."
            ) from error
        return context


class _NoRedirects(HTTPRedirectHandler):
    """Follows nothing: a redirect is an answer, and credentials go to one address only."""

    def redirect_request(self, *_: object) -> None:
        return None


class Web:
    """Asks through the caller's proxy, if any; this machine's own addresses directly."""

    def __init__(self, certificates: Certificates | None = None) -> None:
        self._certificates = certificates or Certificates()

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Return the answer to one request.

        Raises:
            UnreachableError: there is none.
        """
        if urlsplit(url).scheme not in {"http", "https"}:  # urllib would read files as well
            raise UnreachableError(url, f"{url} is no address of the web")
        request = Request(url, body, dict(headers or {}), method=method)  # noqa: S310 - as asked
        try:
            with self._opener(url).open(request, timeout=_SECONDS) as response:
                return Answer(response.status, response.headers, response.read(_MOST_BYTES))
        except HTTPError as answer:
            with answer:
                return Answer(answer.code, answer.headers, answer.read(_MOST_BYTES))
        except (OSError, HTTPException, ValueError) as error:
            why = getattr(error, "reason", error)
            raise UnreachableError(url, getattr(why, "strerror", None) or why) from error

    def _opener(self, url: str) -> OpenerDirector:
        parts = urlsplit(url)
        handlers: list[BaseHandler] = [_NoRedirects()]
        if parts.hostname in LOOPBACK:
            handlers.append(ProxyHandler({}))
        if parts.scheme == "https":
            handlers.append(HTTPSHandler(context=self._context))
        return build_opener(*handlers)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        # Reading all the authorities that the system trusts takes a while.
        return self._certificates.context()
