"""What happened inside an API's process: requests answered and functions called, the last of each.

No credential is kept: not what authenticates a client, and not the token of a call.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from local.gateway.lambda_runtime import FunctionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.gateway.lambda_runtime import Invoke
    from local.gateway.model import Request, Response

__all__ = [
    "Exchange",
    "FunctionOutput",
    "Invocation",
    "RecordedInvoke",
    "Recorder",
    "credential_digest",
]

_KEPT = 200
_SHOWN_OF_A_CREDENTIAL = 18
_REQUEST_HEADERS = frozenset({"accept", "if-none-match"})
_RESPONSE_HEADERS = frozenset({"cache-control", "content-type", "etag"})

_printed: ContextVar[list[str] | None] = ContextVar("printed", default=None)


class Exchange(NamedTuple):
    """A request and its answer. `body` is the answer's, `at` in seconds since the epoch."""

    at: float
    milliseconds: float
    method: str
    path: str
    status: int
    request_headers: Mapping[str, str]
    response_headers: Mapping[str, str]
    body: str


class Invocation(NamedTuple):
    """A function's call. `event`, `result` and `credential` are kept of authorizers only.

    `credential` is a digest of the Authorization header; `error` what API Gateway was told.
    """

    at: float
    milliseconds: float
    function: str
    request_id: str
    credential: str | None
    event: Any
    result: Any
    error: str | None
    lines: list[str]


class Recorder:
    """Keeps the last exchanges and invocations, numbered in the order in which they ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._kept: deque[tuple[int, Exchange | Invocation]] = deque(maxlen=_KEPT)

    def add(self, record: Exchange | Invocation) -> None:
        """Keep a record, in the place of the oldest one when there are too many."""
        with self._lock:
            self._last += 1
            self._kept.append((self._last, record))

    def since(self, number: int) -> dict[str, Any]:
        """Return what came after a number, as JSON has it, and the number of the last of them."""
        with self._lock:
            last, kept = self._last, [record for found, record in self._kept if found > number]
        return {
            "last": last,
            "exchanges": [record._asdict() for record in kept if isinstance(record, Exchange)],
            "invocations": [record._asdict() for record in kept if isinstance(record, Invocation)],
        }

    def keep_exchange(
        self, request: Request, response: Response, at: float, seconds: float, *, body: bool
    ) -> None:
        """Keep a request and its answer; the answer's body only if it is nobody's secret."""
        self.add(
            Exchange(
                at=at,
                milliseconds=seconds * 1000,
                method=request.method,
                path=request.path,
                status=response.status,
                request_headers=_picked(request.headers, _REQUEST_HEADERS),
                response_headers=_picked(response.headers, _RESPONSE_HEADERS),
                body=response.body.decode("utf-8", "replace") if body else "",
            )
        )


class RecordedInvoke:
    """Calls functions and keeps what became of each call."""

    def __init__(self, invoke: Invoke, recorder: Recorder) -> None:
        self._invoke = invoke
        self._recorder = recorder

    def __call__(self, function: str, event: object) -> object:
        """Call `function` with `event`."""
        result: object = None
        failure: FunctionError | None = None
        lines: list[str] = []
        mark = _printed.set(lines)
        at, started = time.time(), time.perf_counter()
        try:
            result = self._invoke(function, event)
        except FunctionError as error:
            failure = error
            raise
        finally:
            _printed.reset(mark)
            seconds = time.perf_counter() - started
            self._recorder.add(_invocation(function, event, result, failure, (at, seconds, lines)))
        return result


class FunctionOutput:
    """Standard output that hands what a function prints to the record of its call as well."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @classmethod
    def install(cls) -> None:
        """Take the place of standard output. Doing it twice is no harm."""
        if not isinstance(sys.stdout, cls):
            sys.stdout = cls(sys.stdout)

    def write(self, text: str) -> int:
        """Write text where it was going anyway, and into the record of a call if one is on."""
        lines = _printed.get()
        if lines is not None and text.strip():
            lines.append(text.rstrip("\n"))
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def credential_digest(authorization: str) -> str:
    """Digest an Authorization header, to find a call by it without keeping it."""
    return hashlib.sha256(authorization.encode()).hexdigest()


def _invocation(
    function: str,
    event: object,
    result: object,
    failure: FunctionError | None,
    seen: tuple[float, float, list[str]],
) -> Invocation:
    at, seconds, lines = seen
    described: Mapping[str, Any] = event if isinstance(event, dict) else {}
    is_authorizer = described.get("type") == "REQUEST"
    # Looking for it takes time, and of other functions nobody asks.
    authorization = _authorization(described) if is_authorizer else None
    return Invocation(
        at=at,
        milliseconds=seconds * 1000,
        function=function,
        request_id=str(described.get("requestContext", {}).get("requestId", "")),
        credential=credential_digest(authorization) if authorization else None,
        event=_without(authorization, described) if is_authorizer else None,
        result=result if is_authorizer else None,
        error=failure.message if failure else None,
        lines=lines,
    )


def _authorization(event: Mapping[str, Any]) -> str | None:
    headers: Mapping[str, str] = event.get("headers") or {}
    return next((value for name, value in headers.items() if name.lower() == "authorization"), None)


def _without(credential: str | None, event: Mapping[str, Any]) -> Any:
    """Copy an event, its credential cut short wherever it stands."""
    if not credential:
        return dict(event)
    shown = f"{credential[:_SHOWN_OF_A_CREDENTIAL]}…"
    return json.loads(json.dumps(event).replace(json.dumps(credential), json.dumps(shown)))


def _picked(headers: tuple[tuple[str, str], ...], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() in names}
