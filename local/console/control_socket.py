"""Control sockets, through which the console inspects and changes the APIs' processes.

Each process has a Unix socket in a folder of this user. There is no port that a web page or another machine could
reach. A connection carries one request and one response, both JSON. No credential is recorded: neither a client's nor
the token of a call.
"""

import hashlib
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Self, TextIO

from local.gateway.core import Gateway
from local.gateway.lambda_runtime import FunctionError, InProcessLambda, Invoke
from local.gateway.model import Request, Response
from local.http_server import EXHAUSTED, Accept

Record = dict[str, Any]

_MOST_RECORDS = 200
_SHOWN_OF_A_CREDENTIAL = 18
_REQUEST_HEADERS = frozenset({"accept", "if-none-match"})
_RESPONSE_HEADERS = frozenset({"cache-control", "content-type", "etag"})
# The key set and introspection responses contain no credentials.
_KEY_SET = "/oauth2/jwks"
_PUBLIC_BODIES = (_KEY_SET, "/oauth2/introspect")
_AUTHORIZERS_ACCEPT = "application/jwk-set+json, application/json"
_DOWN = Response(503, (("Content-Type", "application/json"),), b'{"message":"Service Unavailable"}')

_printed: ContextVar[list[str] | None] = ContextVar("printed", default=None)


class Recorder:
    """The last exchanges and invocations, numbered in the order in which they ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._records: deque[tuple[int, str, Record]] = deque(maxlen=_MOST_RECORDS)
        self._retained: list[tuple[int, str, Record]] = []

    def add(self, kind: str, started: float, record: Record, *, is_retained: bool = False) -> None:
        """Store an exchange or an invocation, instead of the oldest record if there are too many.

        The last record with `is_retained` is always stored. `started` is a value of `time.perf_counter`.
        """
        seconds = time.perf_counter() - started
        record = {"at": time.time() - seconds, "milliseconds": seconds * 1000, **record}
        with self._lock:
            self._last += 1
            self._records.append((self._last, kind, record))
            if is_retained:
                self._retained = [self._records[-1]]

    def since(self, number: int) -> dict[str, Any]:
        """Return the records after a number as JSON values, and the number of the last one."""
        with self._lock:
            older = [each for each in self._retained if each[0] <= self._last - len(self._records)]
            last, records = self._last, [each for each in chain(older, self._records) if each[0] > number]
        kinds = ("exchanges", "invocations")
        return {"last": last, **{kind: [record for _, found, record in records if found == kind] for kind in kinds}}


def is_key_set_fetch(exchange: Record) -> bool:
    """Return whether an authorizer fetched the key set in an exchange."""
    return exchange["path"].endswith(_KEY_SET) and header(exchange["request_headers"], "accept") == _AUTHORIZERS_ACCEPT


def header(headers: Mapping[str, str], name: str, default: str = "none") -> str:
    """Return the value of a header by its name in lower case."""
    return next((value for key, value in headers.items() if key.lower() == name), default)


class RecordedInvoke:
    """Calls functions and records each call.

    Only the record of an authorizer has `event`, `result` and `credential`, a hash of the Authorization header.
    `error` is the one that API Gateway got.
    """

    def __init__(self, invoke: Invoke, recorder: Recorder) -> None:
        self._invoke = invoke
        self._recorder = recorder

    def __call__(self, function: str, event: object) -> object:
        """Call `function` with `event`."""
        result: object = None
        error: str | None = None
        lines: list[str] = []
        mark = _printed.set(lines)
        started = time.perf_counter()
        try:
            result = self._invoke(function, event)
        except FunctionError as failure:
            error = failure.message
            raise
        finally:
            _printed.reset(mark)
            described: Mapping[str, Any] = event if isinstance(event, dict) else {}
            record: Record = {
                "function": function,
                "request_id": str(described.get("requestContext", {}).get("requestId", "")),
                "error": error,
                "lines": lines,
                **dict.fromkeys(("credential", "event", "result")),
            }
            if described.get("type") == "REQUEST":
                sent = header(described.get("headers") or {}, "authorization", "")
                credential = credential_hash(sent) if sent else None
                record |= {"credential": credential, "event": _without(sent, described), "result": result}
            self._recorder.add("invocations", started, record)
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


class WatchedGateway:
    """A gateway that records its responses, and answers 503 for the paths in `down`."""

    def __init__(self, gateway: Gateway, recorder: Recorder) -> None:
        self.gateway = gateway
        self.recorder = recorder
        self.down: frozenset[str] = frozenset()

    def handle(self, request: Request) -> Response:
        """Answer a request: 503 for a path that is down, as API Gateway does when throttled."""
        started = time.perf_counter()
        response = _DOWN if request.path in self.down else self.gateway.handle(request)
        is_public = request.path.endswith(_PUBLIC_BODIES)
        exchange = {
            "method": request.method,
            "path": request.path,
            "status": response.status,
            "request_headers": _selected(request.headers, _REQUEST_HEADERS),
            "response_headers": _selected(response.headers, _RESPONSE_HEADERS),
            "body": response.body.decode("utf-8", "replace") if is_public else "",
        }
        has_key_set = response.status == 200 and is_key_set_fetch(exchange)
        self.recorder.add("exchanges", started, exchange, is_retained=has_key_set)
        return response

    def too_large(self, request: Request) -> Response:
        """Answer a request whose body is over the limit."""
        return self.gateway.too_large(request)


class ControlServer:
    """Runs the console's tasks in one process.

    It is created before a process forks. Each process opens its own socket afterwards.
    """

    def __init__(self, watched: WatchedGateway, functions: InProcessLambda, environ: MutableMapping[str, str]) -> None:
        self.watched = watched
        self._functions = functions
        self._environ = environ
        tasks = (self.records, self.restart, self.take_down, self.flush)
        self._tasks: dict[str, Callable[..., Record | None]] = {task.__name__: task for task in tasks}

    @classmethod
    def build(
        cls, functions: InProcessLambda, environ: MutableMapping[str, str], compose: Callable[[Invoke], Gateway]
    ) -> Self:
        """Compose a watched gateway and its control server."""
        FunctionOutput.install()
        recorder = Recorder()
        return cls(WatchedGateway(compose(RecordedInvoke(functions, recorder)), recorder), functions, environ)

    def open(self, address: str) -> None:
        """Serve a socket in a thread that ends with the process."""
        listener = Listener(address, "AF_UNIX")
        threading.Thread(target=self.serve, args=(listener,), name="control", daemon=True).start()

    def serve(self, listener: Listener) -> None:
        """Serve one connection after the other, until the listener is closed."""
        accept = Accept(listener.accept)
        while True:
            try:
                connection = accept()
            except OSError as error:
                if error.errno in EXHAUSTED:
                    continue
                return
            with connection:
                self._serve_one(connection)

    def _serve_one(self, connection: "Connection[Any, Any]") -> None:
        try:
            request = json.loads(connection.recv_bytes())
            response = self._tasks[request["task"]](**request["with"]) or {}
            connection.send_bytes(json.dumps(response).encode())
        except (EOFError, OSError) as error:
            print(f"The console closed the connection: {error}", file=sys.stderr)

    def records(self, since: int) -> Record:
        """Return the records after a number, and the paths that are down."""
        return {**self.watched.recorder.since(since), "down": sorted(self.watched.down)}

    def restart(self, functions: list[str], environment: dict[str, str]) -> None:
        """Give functions new execution environments, without caches and with other variables."""
        self._environ.update(environment)
        for function in functions:
            self._functions.restart(function)

    def take_down(self, paths: list[str]) -> None:
        """Set the paths that are down."""
        self.watched.down = frozenset(paths)

    def flush(self) -> None:
        """Clear the policy cache, as `aws apigateway flush-stage-authorizers-cache` does."""
        self.watched.gateway.flush_authorizers_cache()


@dataclass(frozen=True, slots=True)
class ControlClient:
    """The processes of one service, by their sockets in `folder`."""

    folder: Path | str
    service: str

    def records(self, since: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Return the records of all processes, in the order in which they ended.

        `last` has the number of each process's last record by its socket. Pass it as `since` to get later records.

        Raises:
            ConnectionError: no process answers.
        """
        known = since or {}
        answers = self._call_each("records", lambda address: {"since": known.get(address, 0)})
        return {
            "last": {address: answer["last"] for address, answer in answers.items()},
            "exchanges": _merged(answer["exchanges"] for answer in answers.values()),
            "invocations": _merged(answer["invocations"] for answer in answers.values()),
            "down": sorted({path for answer in answers.values() for path in answer["down"]}),
        }

    def run(self, task: str, **arguments: object) -> None:
        """Run a task in each process.

        Raises:
            ConnectionError: no process answers.
        """
        self._call_each(task, lambda _: arguments)

    def _call_each(self, task: str, arguments: Callable[[str], Mapping[str, object]]) -> dict[str, Record]:
        """Return the responses by socket. A process that does not answer is logged and omitted."""
        answers: dict[str, Record] = {}
        for address in sorted(map(str, Path(self.folder).glob(f"{self.service}.*.sock"))):
            try:
                answers[address] = call(address, task, **arguments(address))
            except (EOFError, OSError) as error:
                why = str(error) or type(error).__name__
                print(f"{Path(address).name} does not answer: {why}.", file=sys.stderr)
        if not answers:
            raise ConnectionError(f"No process of {self.service} answers in {self.folder}.")
        return answers


def socket_of(folder: Path | str, service: str, worker: int) -> str:
    """Return the path of a process's socket; the processes of a service are numbered from 0."""
    return str(Path(folder) / f"{service}.{worker}.sock")


def call(address: str, task: str, **arguments: object) -> Record:
    """Run a task in the process of a socket.

    Raises:
        OSError: nothing listens there.
        EOFError: the process could not run it.
    """
    with Client(address, "AF_UNIX") as connection:
        connection.send_bytes(json.dumps({"task": task, "with": arguments}).encode())
        answer: Record = json.loads(connection.recv_bytes())
        return answer


def credential_hash(authorization: str) -> str:
    """Hash an Authorization header, to find a call by it without storing it."""
    return hashlib.sha256(authorization.encode()).hexdigest()


def _without(credential: str, event: Mapping[str, Any]) -> Any:
    """Copy an event with every copy of its credential shortened."""
    text = json.dumps(event)
    if credential:
        text = text.replace(json.dumps(credential), json.dumps(f"{credential[:_SHOWN_OF_A_CREDENTIAL]}…"))
    return json.loads(text)


def _selected(headers: tuple[tuple[str, str], ...], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() in names}


def _merged(records: Iterable[list[Record]]) -> list[Record]:
    return sorted(chain.from_iterable(records), key=lambda each: each["at"] + each["milliseconds"] / 1000)
