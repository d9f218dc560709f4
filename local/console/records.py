"""Records of an API's process, and the records that one call to the guarded API has caused.

No credential is recorded: neither a client's nor the token of a call.
"""

import hashlib
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, TextIO

from local.gateway.lambda_runtime import FunctionError, Invoke
from local.gateway.model import Request, Response

Record = dict[str, Any]

_MOST_RECORDS = 200
_SHOWN_OF_A_CREDENTIAL = 18
_REQUEST_HEADERS = frozenset({"accept", "if-none-match"})
_RESPONSE_HEADERS = frozenset({"cache-control", "content-type", "etag"})
_AUTHORIZERS_ACCEPT = "application/jwk-set+json, application/json"

_printed: ContextVar[list[str] | None] = ContextVar("printed", default=None)


class Exchange(NamedTuple):
    """A request and its response. `at` is in seconds since the epoch, `body` the response's."""

    at: float
    milliseconds: float
    method: str
    path: str
    status: int
    request_headers: Mapping[str, str]
    response_headers: Mapping[str, str]
    body: str


class Invocation(NamedTuple):
    """A function's call. Only an authorizer's has `event`, `result` and `credential`.

    `credential` is a hash of the Authorization header. `error` is the one that API Gateway got.
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
    """The last exchanges and invocations, numbered in the order in which they ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._records: deque[tuple[int, Exchange | Invocation]] = deque(maxlen=_MOST_RECORDS)

    def add(self, record: Exchange | Invocation) -> None:
        """Store a record, instead of the oldest one if there are too many."""
        with self._lock:
            self._last += 1
            self._records.append((self._last, record))

    def since(self, number: int) -> dict[str, Any]:
        """Return the records after a number as JSON values, and the number of the last one."""
        with self._lock:
            last = self._last
            records = [record for found, record in self._records if found > number]
        return {
            "last": last,
            "exchanges": [each._asdict() for each in records if isinstance(each, Exchange)],
            "invocations": [each._asdict() for each in records if isinstance(each, Invocation)],
        }

    def add_exchange(self, request: Request, response: Response, at: float, seconds: float, *, body: bool) -> None:
        """Store a request and its response; with `body` the response's body, if it is public."""
        self.add(
            Exchange(
                at=at,
                milliseconds=seconds * 1000,
                method=request.method,
                path=request.path,
                status=response.status,
                request_headers=_selected(request.headers, _REQUEST_HEADERS),
                response_headers=_selected(response.headers, _RESPONSE_HEADERS),
                body=response.body.decode("utf-8", "replace") if body else "",
            )
        )


class RecordedInvoke:
    """Calls functions and records each call."""

    def __init__(self, invoke: Invoke, recorder: Recorder) -> None:
        self._invoke = invoke
        self._recorder = recorder

    def __call__(self, function: str, event: object) -> object:
        """Call `function` with `event`."""
        result: object = None
        error: str | None = None
        lines: list[str] = []
        mark = _printed.set(lines)
        at, started = time.time(), time.perf_counter()
        try:
            result = self._invoke(function, event)
        except FunctionError as failure:
            error = failure.message
            raise
        finally:
            _printed.reset(mark)
            milliseconds = (time.perf_counter() - started) * 1000
            described: Mapping[str, Any] = event if isinstance(event, dict) else {}
            is_authorizer = described.get("type") == "REQUEST"
            header = _authorization(described) if is_authorizer else None
            self._recorder.add(
                Invocation(
                    at=at,
                    milliseconds=milliseconds,
                    function=function,
                    request_id=str(described.get("requestContext", {}).get("requestId", "")),
                    credential=credential_hash(header) if header else None,
                    event=_without(header, described) if is_authorizer else None,
                    result=result if is_authorizer else None,
                    error=error,
                    lines=lines,
                )
            )
        return result


class FunctionOutput:
    """Standard output that also adds a function's lines to the record of its call."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @classmethod
    def install(cls) -> None:
        """Replace standard output. Idempotent."""
        if not isinstance(sys.stdout, cls):
            sys.stdout = cls(sys.stdout)

    def write(self, text: str) -> int:
        """Write text to the stream and to the record of the current call."""
        lines = _printed.get()
        if lines is not None and text.strip():
            lines.append(text.rstrip("\n"))
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@dataclass(frozen=True, slots=True)
class CallTrace:
    """The records of one call. `auth_since` has the auth server's since the call began."""

    api: Mapping[str, Any]
    auth: Mapping[str, Any]
    auth_since: Mapping[str, Any]
    request_id: str
    authorization: str

    def authorizer_call(self) -> Record | None:
        """Return the authorizer's invocation for this request; None if the policy was cached."""
        return _last(each for each in self._authorizer_calls() if each["request_id"] == self.request_id)

    def cached_call(self) -> Record | None:
        """Return the last invocation that returned a policy for this token."""
        wanted = credential_hash(self.authorization)
        return _last(
            each for each in self._authorizer_calls() if each["credential"] == wanted and each["result"] is not None
        )

    def function_call(self) -> Record | None:
        """Return the invocation of the function behind the authorizer, if it was called."""
        return _last(
            each for each in self.api["invocations"] if each["request_id"] == self.request_id and each["event"] is None
        )

    def key_set_fetch(self) -> Record | None:
        """Return the exchange in which the authorizer fetched the key set during the call."""
        return _last(filter(_is_fetch, self.auth_since["exchanges"]))

    def introspection(self) -> Record | None:
        """Return the exchange in which the authorizer introspected an opaque token."""
        return _last(each for each in self.auth_since["exchanges"] if each["path"].endswith("/oauth2/introspect"))

    def keys(self) -> list[dict[str, str]]:
        """Return the key set that the authorizer fetched last."""
        fetched = (each for each in self.auth["exchanges"] if _is_fetch(each) and each["body"])
        found = _last(each for each in fetched if each["status"] == 200)
        keys: list[dict[str, str]] = json.loads(found["body"])["keys"] if found else []
        return keys

    def _authorizer_calls(self) -> list[Record]:
        return [each for each in self.api["invocations"] if each["event"] is not None]


def decision_line(invocation: Record) -> dict[str, Any]:
    """Return the authorizer's log line about its decision, empty without one."""
    for line in reversed(invocation["lines"]):
        members = as_object(line)
        if "decision" in members:
            return members
    return {}


def as_object(text: str) -> dict[str, Any]:
    """Parse a JSON object; empty if the text is not one."""
    try:
        members = json.loads(text)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def credential_hash(authorization: str) -> str:
    """Hash an Authorization header, to find a call by it without storing it."""
    return hashlib.sha256(authorization.encode()).hexdigest()


def _authorization(event: Mapping[str, Any]) -> str | None:
    headers: Mapping[str, str] = event.get("headers") or {}
    return next((value for name, value in headers.items() if name.lower() == "authorization"), None)


def _without(credential: str | None, event: Mapping[str, Any]) -> Any:
    """Copy an event with every copy of its credential shortened."""
    if not credential:
        return dict(event)
    shown = f"{credential[:_SHOWN_OF_A_CREDENTIAL]}…"
    return json.loads(json.dumps(event).replace(json.dumps(credential), json.dumps(shown)))


def _selected(headers: tuple[tuple[str, str], ...], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() in names}


def _is_fetch(exchange: Record) -> bool:
    accepted = {name.lower(): value for name, value in exchange["request_headers"].items()}
    return bool(exchange["path"].endswith("/oauth2/jwks") and accepted.get("accept") == _AUTHORIZERS_ACCEPT)


def _last(records: Iterable[Record]) -> Record | None:
    found = list(records)
    return found[-1] if found else None
