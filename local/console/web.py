"""The console's HTTP side: a few files, a few tasks, and nobody let in but the page itself.

It serves this machine's own browser only. A page from elsewhere could still send requests here
(CSRF), or read answers under a name of its own that it lets point here (DNS rebinding): so the
Host header must be ours, and so must the Origin of whatever does something.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from local.console.desk import RequestError
from local.gateway.model import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.gateway.model import Request

__all__ = ["ConsoleSite"]

PAGE = Path(__file__).resolve().parent / "page"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)


class Tasks(Protocol):
    """What the page can ask for. Each task takes and gives what JSON can carry."""

    def setting(self, wanted: Mapping[str, Any], /) -> dict[str, Any]: ...
    def token(self, wanted: Mapping[str, Any], /) -> dict[str, Any]: ...
    def call(self, wanted: Mapping[str, Any], /) -> dict[str, Any]: ...
    def expire(self, wanted: Mapping[str, Any], /) -> dict[str, Any]: ...
    def tamper(self, wanted: Mapping[str, Any], /) -> dict[str, Any]: ...
    def rotate(self, wanted: Mapping[str, Any], /) -> dict[str, Any]: ...
    def take_down(self, wanted: Mapping[str, Any], /) -> dict[str, Any]: ...
    def bring_back(self, wanted: Mapping[str, Any], /) -> dict[str, Any]: ...


class ConsoleSite:
    """Serves the page and its tasks, on one port of the loopback address."""

    def __init__(self, tasks: Tasks, port: int) -> None:
        self._hosts = frozenset(f"{name}:{port}" for name in ("localhost", "127.0.0.1"))
        self._origins = frozenset(f"http://{host}" for host in self._hosts)
        self._files = {f"/{path.name}": path for path in PAGE.iterdir()}
        self._files["/"] = PAGE / "index.html"
        self._tasks = {
            f"/tasks/{task.__name__}": task
            for task in (
                tasks.setting,
                tasks.token,
                tasks.call,
                tasks.expire,
                tasks.tamper,
                tasks.rotate,
                tasks.take_down,
                tasks.bring_back,
            )
        }

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        if request.header("host") not in self._hosts:
            return _problem(421, "This is not the address of the console.")
        if request.path in self._tasks:
            return self._do(request)
        return self._read(request)

    def too_large(self, _: Request) -> Response:
        """Answer a request whose body is over the server's limit."""
        return _problem(413, "That is too much.")

    def _read(self, request: Request) -> Response:
        file = self._files.get(request.path)
        if file is None:
            return _problem(404, "There is nothing here.")
        if request.method not in ("GET", "HEAD"):
            return _problem(405, "This can only be read.")
        return _response(200, _MEDIA_TYPES[file.suffix], file.read_bytes())

    def _do(self, request: Request) -> Response:
        try:
            return _json(200, self._tasks[request.path](self._wanted(request)))
        except _RefusedError as refused:
            return _problem(refused.status, str(refused))
        except RequestError as error:
            return _problem(400, str(error))
        except Exception as error:  # noqa: BLE001 - the page is told, and whoever reads the log
            traceback.print_exc(file=sys.stderr)
            return _problem(500, f"{type(error).__name__}: see the console's log.")

    def _wanted(self, request: Request) -> Mapping[str, Any]:
        """Read a task's members, if it is the page that asks for it."""
        if request.method != "POST" or request.header("content-type") != "application/json":
            raise _RefusedError(405, "Tasks are sent as JSON, with POST.")
        if request.header("origin") not in self._origins:
            raise _RefusedError(403, "Only the console's own page may ask for this.")
        try:
            wanted = json.loads(request.body)
            json.dumps(wanted, ensure_ascii=False).encode()  # fails for lone surrogates
        except (ValueError, RecursionError):  # the latter for one that is nested too deeply
            raise _RefusedError(400, "This is no JSON.") from None
        if not isinstance(wanted, dict):
            raise _RefusedError(400, "A task takes a JSON object.")
        return wanted


class _RefusedError(Exception):
    """The request is not one of the page's."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def _problem(status: int, sentence: str) -> Response:
    return _json(status, {"problem": sentence})


def _json(status: int, members: Mapping[str, Any]) -> Response:
    return _response(status, "application/json", json.dumps(members).encode())


def _response(status: int, media_type: str, body: bytes) -> Response:
    return Response(status, (("Content-Type", media_type), *_HEADERS), body)
