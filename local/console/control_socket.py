"""Control sockets, through which the console inspects and changes the APIs' processes.

Each process has a Unix socket in a folder of this user. There is no port that a web page or another
machine could reach. A connection carries one request and one response, both JSON.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Self

from local.console.records import FunctionOutput, Record, RecordedInvoke, Recorder
from local.gateway.core import Gateway
from local.gateway.lambda_runtime import InProcessLambda, Invoke
from local.gateway.model import Request, Response
from local.http_server import EXHAUSTED, Accept

# The key set and introspection responses contain no credentials.
_PUBLIC_BODIES = ("/oauth2/jwks", "/oauth2/introspect")
_DOWN = Response(503, (("Content-Type", "application/json"),), b'{"message":"Service Unavailable"}')


class WatchedGateway:
    """A gateway that records its responses, and answers 503 for the paths in `down`."""

    def __init__(self, gateway: Gateway, recorder: Recorder) -> None:
        self.gateway = gateway
        self.recorder = recorder
        self.down: frozenset[str] = frozenset()

    def handle(self, request: Request) -> Response:
        """Answer a request: 503 for a path that is down, as API Gateway does when throttled."""
        at, started = time.time(), time.perf_counter()
        response = _DOWN if request.path in self.down else self.gateway.handle(request)
        seconds = time.perf_counter() - started
        is_public = request.path.endswith(_PUBLIC_BODIES)
        self.recorder.add_exchange(request, response, at, seconds, body=is_public)
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
        self._tasks: dict[str, Callable[..., dict[str, Any]]] = {
            "records": self._records,
            "restart": self._restart,
            "take_down": self._take_down,
            "flush": self._flush,
        }

    @classmethod
    def build(
        cls, functions: InProcessLambda, environ: MutableMapping[str, str], compose: Callable[[Invoke], Gateway]
    ) -> Self:
        """Compose a watched gateway and its control server."""
        FunctionOutput.install()
        recorder = Recorder()
        gateway = compose(RecordedInvoke(functions, recorder))
        return cls(WatchedGateway(gateway, recorder), functions, environ)

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
            response = self._tasks[request["task"]](**request["with"])
            connection.send_bytes(json.dumps(response).encode())
        except (EOFError, OSError) as error:
            print(f"The console closed the connection: {error}", file=sys.stderr)

    def _records(self, since: int) -> dict[str, Any]:
        return {**self.watched.recorder.since(since), "down": sorted(self.watched.down)}

    def _restart(self, functions: list[str], environment: dict[str, str]) -> dict[str, Any]:
        """Give functions new execution environments, without caches and with other variables."""
        self._environ.update(environment)
        for function in functions:
            self._functions.restart(function)
        return {}

    def _take_down(self, paths: list[str]) -> dict[str, Any]:
        """Set the paths that are down."""
        self.watched.down = frozenset(paths)
        return {}

    def _flush(self) -> dict[str, Any]:
        """Clear the policy cache, as `aws apigateway flush-stage-authorizers-cache` does."""
        self.watched.gateway.flush_authorizers_cache()
        return {}


@dataclass(frozen=True, slots=True)
class ControlClient:
    """The processes of one service, by their sockets in `folder`."""

    folder: Path | str
    service: str

    def records(self, since: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Return the records of all processes, in the order in which they ended.

        `last` has the number of each process's last record by its socket. Pass it as `since` to
        get later records.

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

    def _call_each(self, task: str, arguments: Callable[[str], Mapping[str, object]]) -> dict[str, dict[str, Any]]:
        """Return the responses by socket. A process that does not answer is logged and omitted."""
        answers: dict[str, dict[str, Any]] = {}
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


def call(address: str, task: str, **arguments: object) -> dict[str, Any]:
    """Run a task in the process of a socket.

    Raises:
        OSError: nothing listens there.
        EOFError: the process could not run it.
    """
    with Client(address, "AF_UNIX") as connection:
        connection.send_bytes(json.dumps({"task": task, "with": arguments}).encode())
        answer: dict[str, Any] = json.loads(connection.recv_bytes())
        return answer


def _merged(records: Iterable[list[Record]]) -> list[Record]:
    return sorted(chain.from_iterable(records), key=lambda each: each["at"] + each["milliseconds"] / 1000)
