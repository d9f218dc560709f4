"""The way into the processes of an API that the console has, and nobody else.

Each has a socket in a folder that only this user may enter: no port, and so nothing that a page in
a browser or a neighbour on the network could reach. One question and one answer, both JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from multiprocessing.connection import Client, Listener
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any

from local.console.recording import FunctionOutput, RecordedInvoke, Recorder
from local.gateway.model import Response
from local.http_server import EXHAUSTED, Accept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from multiprocessing.connection import Connection

    from local.gateway.core import Gateway
    from local.gateway.lambda_runtime import InProcessLambda, Invoke
    from local.gateway.model import Request

__all__ = [
    "BACKSTAGE",
    "Backstage",
    "WatchedGateway",
    "ask",
    "new_folder",
    "socket_of",
    "sockets_of",
]

BACKSTAGE = "GATEHOUSE_BACKSTAGE"
"""Names the folder of the sockets. Set for processes that the console may look into."""

_LONGEST_PARENT = 60

# Of these the answer may be shown: the key set is public, and what introspection says is no secret.
_SHOWN = ("/oauth2/jwks", "/oauth2/introspect")
_DOWN = Response(503, (("Content-Type", "application/json"),), b'{"message":"Service Unavailable"}')


class WatchedGateway:
    """A gateway that keeps a record of what it answers, and some of whose paths may be down."""

    def __init__(self, gateway: Gateway, recorder: Recorder) -> None:
        self.gateway = gateway
        self.recorder = recorder
        self.down: frozenset[str] = frozenset()

    def handle(self, request: Request) -> Response:
        """Answer a request: 503, as while a function is throttled, if its path is down."""
        at, started = time.time(), time.perf_counter()
        response = _DOWN if request.path in self.down else self.gateway.handle(request)
        seconds = time.perf_counter() - started
        shown = request.path.endswith(_SHOWN)
        self.recorder.keep_exchange(request, response, at, seconds, body=shown)
        return response

    def too_large(self, request: Request) -> Response:
        """Answer a request whose body is over the limit."""
        return self.gateway.too_large(request)


class Backstage:
    """Answers the console's questions about one process, and does there what it asks for.

    It is composed before a process forks and opened afterwards, by each of them for itself.
    """

    def __init__(
        self,
        watched: WatchedGateway,
        sandboxes: InProcessLambda,
        environ: MutableMapping[str, str],
    ) -> None:
        self.watched = watched
        self._sandboxes = sandboxes
        self._environ = environ
        self._tasks: dict[str, Callable[..., dict[str, Any]]] = {
            "records": self._records,
            "restart": self._start_anew,
            "take_down": self._take_down,
            "flush": self._flush,
        }

    @classmethod
    def build(
        cls,
        sandboxes: InProcessLambda,
        environ: MutableMapping[str, str],
        compose: Callable[[Invoke], Gateway],
    ) -> Backstage:
        """Compose a gateway that the console may look behind, and the place behind it."""
        FunctionOutput.install()
        recorder = Recorder()
        gateway = compose(RecordedInvoke(sandboxes, recorder))
        return cls(WatchedGateway(gateway, recorder), sandboxes, environ)

    def open(self, address: str) -> None:
        """Let the console in at a socket, in a thread that ends with the process."""
        listener = Listener(address, "AF_UNIX")
        threading.Thread(target=self.serve, args=(listener,), name="backstage", daemon=True).start()

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Do the task that a question names, with its arguments."""
        return self._tasks[question["task"]](**question["with"])

    def serve(self, listener: Listener) -> None:
        """Answer each connection in turn, until the listener is closed."""
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

    def _serve_one(self, connection: Connection[Any, Any]) -> None:
        try:
            answer = self.answer(json.loads(connection.recv_bytes()))
            connection.send_bytes(json.dumps(answer).encode())
        except (EOFError, OSError) as error:
            print(f"The console went away: {error}", file=sys.stderr)

    def _records(self, since: int) -> dict[str, Any]:
        return {**self.watched.recorder.since(since), "down": sorted(self.watched.down)}

    def _start_anew(self, functions: list[str], environment: dict[str, str]) -> dict[str, Any]:
        """Give functions new sandboxes, in which nothing is warm and the environment is changed."""
        self._environ.update(environment)
        for function in functions:
            self._sandboxes.restart(function)
        return {}

    def _take_down(self, paths: list[str]) -> dict[str, Any]:
        """Let these paths, and no others, be down."""
        self.watched.down = frozenset(paths)
        return {}

    def _flush(self) -> dict[str, Any]:
        """Forget every policy, as `aws apigateway flush-stage-authorizers-cache` does."""
        self.watched.gateway.flush_authorizers_cache()
        return {}


def new_folder() -> TemporaryDirectory[str]:
    """Make a folder for the sockets, whose paths may have 104 bytes everywhere (unix(7))."""
    usual = gettempdir()
    is_short = len(os.fsencode(usual)) <= _LONGEST_PARENT
    return TemporaryDirectory(prefix="gatehouse-", dir=usual if is_short else "/tmp")  # noqa: S108 - what is made in it has a name of its own, and is for this user only


def socket_of(folder: Path | str, service: str, worker: int) -> str:
    """Return where one of a service's processes listens; they are numbered from 0."""
    return str(Path(folder) / f"{service}.{worker}.sock")


def sockets_of(folder: Path | str, service: str) -> list[str]:
    """Return where those of a service's processes listen that have been started."""
    return sorted(map(str, Path(folder).glob(f"{service}.*.sock")))


def ask(address: str, task: str, **arguments: object) -> dict[str, Any]:
    """Ask a process of the laptop edition.

    Raises:
        OSError: it is not there.
        EOFError: it could not answer.
    """
    with Client(address, "AF_UNIX") as connection:
        connection.send_bytes(json.dumps({"task": task, "with": arguments}).encode())
        answer: dict[str, Any] = json.loads(connection.recv_bytes())
        return answer
