"""moto as a server: the access gate in front of it, its leases, and atomic DynamoDB writes."""

import hmac
import http.client
import json
import logging
import os
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from infra.local_stack import access_key_file, is_private_folder
from local.addresses import LOOPBACK
from local.cli import LaptopError
from local.http_client import HttpRequest, send
from local.http_server import Accept
from local.supervisor import is_running

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/")
_BROWSER_HEADERS = ("HTTP_ORIGIN", "HTTP_SEC_FETCH_")
_LEASES_PATH = "/gatehouse/leases/"
_LEASE_SECONDS = 2.0
_WRITES = ("put_item", "update_item", "delete_item", "transact_write_items")
_LOCKED = "takes_the_write_lock"
"""An attribute of methods that take the lock. moto wraps some methods itself, so `__wrapped__` proves nothing."""

_write_lock = threading.RLock()


class AwsGate:
    """Admits requests with this run's access key. All others get 503 until `open`, then 403.

    moto holds private signing keys and accepts any credentials. Web pages can send requests to loopback ports, also
    under their own DNS name (DNS rebinding). Every user of the machine can, too.
    """

    def __init__(self, port: int) -> None:
        self.access_key = f"LAPTOP{secrets.token_hex(16).upper()}"
        self._port = port
        self._hosts = frozenset(f"{name}:{port}" for name in ("localhost", LOOPBACK))
        self._is_open = False

    def open(self) -> None:
        """Write the access key to its file, where this user's processes read it.

        Raises:
            LaptopError: its folder is not private.
        """
        _write_private(access_key_file(self._port), self.access_key)
        self._is_open = True

    def close(self) -> None:
        """Delete the access key, unless a later run has replaced it."""
        file = access_key_file(self._port)
        with suppress(FileNotFoundError):
            if file.read_text(encoding="ascii") == self.access_key:
                file.unlink()

    def in_front_of(self, application: Wsgi) -> Wsgi:
        """Return an application that passes admitted requests to this one."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            problem = self._rejection(environ)
            if problem is None:
                return application(environ, start)
            status, kind, message = problem
            start(status, [("Content-Type", "application/x-amz-json-1.1")])
            return [json.dumps({"__type": kind, "message": message}).encode()]

        return answer

    def _rejection(self, environ: dict[str, Any]) -> tuple[str, str, str] | None:
        """Return the status, type and message of a rejection, None for an admitted request."""
        denied = "403 Forbidden", "AccessDeniedException"
        is_signed = self._is_signed(environ.get("HTTP_AUTHORIZATION", ""))
        if not (self._is_open or is_signed):
            return "503 Service Unavailable", "ServiceUnavailable", "AWS (moto) is starting."
        if any(name.startswith(_BROWSER_HEADERS) for name in environ):
            return *denied, "The laptop's AWS does not serve web pages."
        if environ.get("HTTP_HOST", "").lower() not in self._hosts:
            return *denied, "The Host header is not an address of the laptop's AWS."
        if not is_signed:
            file = access_key_file(self._port)
            return denied[0], "UnrecognizedClientException", f"The access key is in {file}."
        if any(part.startswith("moto-api") for part in environ.get("PATH_INFO", "").split("/")):
            return *denied, "moto's own API is disabled."
        return None

    def _is_signed(self, header: str) -> bool:
        found = _CREDENTIAL.match(header)
        return found is not None and hmac.compare_digest(found[1].encode(), self.access_key.encode())


def authorization(access_key: str | None) -> dict[str, str]:
    """Return the header that names the access key, for requests without an AWS SDK."""
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={access_key}/"} if access_key else {}


class Leases:
    """The processes that use this moto. It ends when the last of them has ended.

    Two APIs that are started separately share one moto. If moto ended with the process that
    started it, the other API would lose its AWS. Each API therefore registers a lease, by HTTP.
    """

    def __init__(self, first: int) -> None:
        self._processes = {first}
        self._lock = threading.Lock()

    def add(self, process: int) -> bool:
        """Register a process. Returns False after the last lease has ended."""
        with self._lock:
            if not self._has_running():
                return False
            self._processes.add(process)
            return True

    def remain(self) -> bool:
        """Return whether a process is running. After False it never returns True."""
        with self._lock:
            return self._has_running()

    def _has_running(self) -> bool:
        self._processes = {each for each in self._processes if is_running(each)}
        return bool(self._processes)

    def in_front_of(self, application: Wsgi) -> Wsgi:
        """Return an application that registers leases, and passes other requests to this one."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            process = path.removeprefix(_LEASES_PATH)
            if process == path or not re.fullmatch(r"[1-9][0-9]{0,9}", process):
                return application(environ, start)
            start("204 No Content" if self.add(int(process)) else "410 Gone", [])
            return []

        return answer


def request_lease(port: int, process: int, access_key: str | None) -> bool:
    """Register a process at the moto on a port.

    Return False while moto is being provisioned, if it is about to end, or if it has another access key.

    Raises:
        ConnectionRefusedError: nothing listens on the port.
        LaptopError: another program listens there.
    """
    url = f"http://{LOOPBACK}:{port}{_LEASES_PATH}{process}"
    try:
        status = send(HttpRequest(url, authorization(access_key), form={}), _LEASE_SECONDS).status
    except ConnectionRefusedError:
        raise
    except (TimeoutError, ConnectionError):
        return False
    except http.client.HTTPException:
        status = None
    if status not in (204, 403, 410, 503):
        raise LaptopError(
            f"Port {port} is in use, but not by an AWS (moto) that Gatehouse started: "
            "stop that process, or set another port with GATEHOUSE_AWS_PORT."
        )
    return status == 204


def serve_moto(port: int, leases: Leases) -> AwsGate:
    """Serve moto in a thread, and return its closed gate.

    Raises:
        OSError: the port is taken.
    """
    # Read by moto at import: it must not allow pages of other origins to read responses.
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
    # On the loopback address only, because it holds private keys.
    listener = socket.create_server((LOOPBACK, port))
    # Imported late: it takes long, and most processes need only the names of resources.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    make_writes_atomic()
    gate = AwsGate(port)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = leases.in_front_of(DomainDispatcherApplication(create_backend_app))
    server = make_server(LOOPBACK, port, gate.in_front_of(application), threaded=True, fd=listener.detach())
    server.get_request = Accept(server.socket.accept)  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return gate


def make_writes_atomic() -> None:
    """Serialize the DynamoDB writes of this process's moto. Idempotent.

    moto checks a condition, writes, and builds the response in separate steps. Without a lock a
    concurrent conditional write succeeds twice, which never happens on AWS.
    """
    from moto.dynamodb.responses import DynamoHandler

    for name in _WRITES:
        method = getattr(DynamoHandler, name)
        if not hasattr(method, _LOCKED):
            setattr(DynamoHandler, name, _locked(method))


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: object, **named: object) -> object:
        with _write_lock:
            return method(*arguments, **named)

    setattr(call, _LOCKED, True)
    return call


def _write_private(file: Path, text: str) -> None:
    """Write a file for this user only, atomically.

    Raises:
        LaptopError: its folder is not private. Every user may create one in /tmp.
    """
    with suppress(FileExistsError):
        file.parent.mkdir(mode=0o700)
    if not is_private_folder(file.parent):
        raise LaptopError(f"{file.parent} is not a folder of yours with mode 0700: delete it.")
    made = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
    made.replace(file)
