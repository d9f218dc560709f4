"""Serve the console of a running laptop edition: `python -m local.console.api`.

`make run` starts it. GATEHOUSE_CONTROL_SOCKETS names the folder of the other processes' sockets.

A page of another origin can send requests here (CSRF). Under a DNS name that resolves to this machine it can also read
responses (DNS rebinding). The console therefore checks the Host header, and the Origin of each task.
"""

import contextlib
import json
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from functions.shared.clients.client import Client
from functions.shared.storage.boto3_client import Boto3
from local import ROOT
from local.addresses import BOUND_API, CONTROL_SOCKETS, LOOPBACK, MUTUAL_TLS, Addresses, use_local_aws
from local.console.call_trace import ApiCalls, TokenTrace
from local.console.clients import DEMO_CLIENTS, DPOP_CLIENT, KINDS, ClientRequests, described, kind_of, needs_mutual_tls
from local.console.fault_injection import JWKS_PATH, FaultInjector
from local.console.steps import Step, Tone, http_exchange
from local.gateway.model import Request, Response
from local.gateway.native_jwt import RejectedTokenError
from local.http_client import HttpRequest
from local.http_server import Server
from local.supervisor import end_with_supervisor

PAGE = Path(__file__).resolve().parent / "page"
SCOPE_MAP = ROOT / "authorizer" / "scopes.json"
ROUTES = ("/country/code/AUS", "/country?limit=3", "/country/code/XX")
"""Routes of the guarded API that the page offers. XX is not a country."""

_SCHEMES = ("Bearer", "DPoP")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_KEY_SETS = {
    "fresh": "The authorizer has just fetched the key set.",
    "stale": "The authorizer's cached key set is stale (JWKS_SOFT_AGE).",
    "nothing": "The authorizer has just been restarted and has no key set.",
}
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


class RequestError(Exception):
    """A request of the page is not valid. The message is shown on the page."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ConsoleApi:
    """The page's tasks. Responses are JSON values with steps, which are in the order of the events."""

    addresses: Addresses
    faults: FaultInjector
    calls: ApiCalls

    @classmethod
    def build(cls, addresses: Addresses, folder: str) -> Self:
        """Compose the API for the laptop edition whose control sockets are in `folder`."""
        scope_map = json.loads(SCOPE_MAP.read_text(encoding="utf-8"))
        faults = FaultInjector(folder, Boto3(), time.time, addresses.bound_api)
        return cls(addresses, faults, ApiCalls(ClientRequests(addresses), folder, scope_map))

    def setting(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the page's form."""
        found = map(self.faults.client, DEMO_CLIENTS)
        return {
            "kinds": KINDS,
            "clients": [described(client) for client in found if client and self._is_usable(client)],
            "routes": ROUTES,
            "opening": sorted(scope for scope, routes in self.calls.scope_map.items() if routes),
            "down": self.faults.is_key_set_down(),
        }

    def token(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Request a token as a client."""
        client = self.faults.client(_text(wanted, "client"))
        scopes = wanted.get("scopes")
        if client is None or client.client_id not in DEMO_CLIENTS:
            raise RequestError("This client does not exist.")
        if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
            raise RequestError("scopes must be a list of strings.")
        trace = TokenTrace(self.calls.requests, client, scopes)
        steps = list(trace.run())
        return {"steps": steps, "token": trace.token, "scheme": trace.scheme}

    def call(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Call the guarded API with a token."""
        path, token = _text(wanted, "path"), _token(wanted)
        scheme = _text(wanted, "scheme")
        if path not in ROUTES or scheme not in _SCHEMES:
            raise RequestError("This route or scheme does not exist.")
        return {"steps": list(self.calls.run(path, token, scheme))}

    def expire(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Return an expired copy of a token."""
        return self._changed(wanted, self.faults.expire, "Only a token of the auth server can expire.")

    def tamper(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Return a changed copy of a token."""
        return self._changed(wanted, self.faults.tamper, "This is not a JWT.")

    @staticmethod
    def _changed(wanted: Mapping[str, Any], change: Callable[[str], tuple[str, Step]], sentence: str) -> dict[str, Any]:
        try:
            token, step = change(_token(wanted))
        except (LookupError, TypeError, RejectedTokenError):
            raise RequestError(sentence) from None
        return {"steps": [step], "token": token}

    def rotate(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Rotate the signing key."""
        return {"steps": [self.faults.rotate()]}

    def take_down(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Take the JWKS endpoint down; `with` is the state of the authorizer's key set."""
        key_set = _text(wanted, "with")
        if key_set not in _KEY_SETS:
            raise RequestError(f"with must be one of {', '.join(_KEY_SETS)}.")
        self.faults.take_down()
        self.faults.restart_authorizer(always_stale=key_set == "stale")
        if key_set != "nothing":
            self._warm_up()
        self.faults.take_down(JWKS_PATH)
        sentence = f"It answers 503, like a throttled function. {_KEY_SETS[key_set]}"
        step = self._endpoint_step("The JWKS endpoint is down", sentence, "down", "bad")
        return {"steps": [step], "down": True}

    def bring_back(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Restore the JWKS endpoint, and restart the authorizer."""
        self.faults.take_down()
        self.faults.restart_authorizer()
        sentence = "It answers again. The authorizer was restarted, and its caches are empty."
        step = self._endpoint_step("The JWKS endpoint is restored", sentence, "up", "good")
        return {"steps": [step], "down": False}

    def _endpoint_step(self, title: str, sentence: str, chip: str, tone: Tone) -> Step:
        request = HttpRequest(f"{self.addresses.issuer}/oauth2/jwks")
        return Step("auth", "auth", title, sentence, chip, tone, (http_exchange(request),))

    def _warm_up(self) -> None:
        """Call each API once, so that its authorizer caches the key set."""
        for client_id in (DEMO_CLIENTS[0], *([DPOP_CLIENT] if self.addresses.bound_api else ())):
            client = self.faults.client(client_id)
            if client is None:
                raise RequestError(f"{client_id} was deleted.")
            trace = TokenTrace(self.calls.requests, client, ())
            list(trace.run())
            if trace.token is None:
                raise RequestError(f"{client_id} gets no token.")
            list(self.calls.run(ROUTES[0], trace.token, trace.scheme))

    def _is_usable(self, client: Client) -> bool:
        """Return whether the optional services that a client needs are running."""
        has_its_api = self.addresses.bound_api or kind_of(client) not in ("dpop", "mtls")
        return has_its_api and (self.addresses.mutual_tls or not needs_mutual_tls(client))


class ConsoleSite:
    """Serves the page and its tasks on one port of the loopback address."""

    def __init__(self, api: ConsoleApi, port: int) -> None:
        self._hosts = frozenset(f"{name}:{port}" for name in ("localhost", "127.0.0.1"))
        self._origins = frozenset(f"http://{host}" for host in self._hosts)
        self._files = {f"/{path.name}": path for path in PAGE.iterdir()}
        self._files["/"] = PAGE / "index.html"
        tasks = (api.setting, api.token, api.call, api.expire, api.tamper, api.rotate, api.take_down, api.bring_back)
        self._tasks = {f"/tasks/{task.__name__}": task for task in tasks}

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        if request.header("host") not in self._hosts:
            return _problem(421, "This is not the address of the console.")
        if request.path in self._tasks:
            return self._run(request)
        file = self._files.get(request.path)
        if file is None:
            return _problem(404, "This page does not exist.")
        if request.method not in ("GET", "HEAD"):
            return _problem(405, "Only GET is allowed.")
        return _response(200, _MEDIA_TYPES[file.suffix], file.read_bytes())

    def too_large(self, _: Request) -> Response:
        """Answer a request whose body is over the server's limit."""
        return _problem(413, "The request is too large.")

    def _run(self, request: Request) -> Response:
        try:
            result = self._tasks[request.path](self._parameters(request))
            return _response(200, "application/json", json.dumps(result, default=Step.to_json).encode())
        except RequestError as error:
            return _problem(error.status, str(error))
        except Exception as error:  # noqa: BLE001 - shown on the page and logged
            traceback.print_exc(file=sys.stderr)
            return _problem(500, f"{type(error).__name__}: see the console's log.")

    def _parameters(self, request: Request) -> Mapping[str, Any]:
        """Parse a task's parameters, if the request is from the page."""
        if request.method != "POST" or request.header("content-type") != "application/json":
            raise RequestError("A task needs POST and JSON.", 405)
        if request.header("origin") not in self._origins:
            raise RequestError("Only the console's page may run tasks.", 403)
        try:
            parameters = json.loads(request.body)
            json.dumps(parameters, ensure_ascii=False).encode()  # fails for lone surrogates
        except (ValueError, RecursionError):  # the latter for deeply nested JSON
            raise RequestError("The body is not JSON.") from None
        if not isinstance(parameters, dict):
            raise RequestError("A task needs a JSON object.")
        return parameters


def _token(wanted: Mapping[str, Any]) -> str:
    token = _text(wanted, "token")
    if not _TOKEN.fullmatch(token):
        raise RequestError("The token contains characters that are not allowed.")
    return token


def _text(wanted: Mapping[str, Any], name: str) -> str:
    value = wanted.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError(f"{name} must be a string.")
    return value


def _problem(status: int, sentence: str) -> Response:
    return _response(status, "application/json", json.dumps({"problem": sentence}).encode())


def _response(status: int, media_type: str, body: bytes) -> Response:
    return Response(status, (("Content-Type", media_type), *_HEADERS), body)


def main() -> int:
    """Serve until a signal arrives or the parent process ends."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    end_with_supervisor(os.environ)
    addresses = replace(
        Addresses.from_env(os.environ),
        mutual_tls=bool(os.environ.get(MUTUAL_TLS)),
        bound_api=bool(os.environ.get(BOUND_API)),
    )
    try:
        server = Server(LOOPBACK, addresses.console_port)
    except OSError as error:
        print(f"Port {addresses.console_port} cannot be used: {error.strerror}.", file=sys.stderr)
        return 1
    use_local_aws(os.environ, addresses)
    api = ConsoleApi.build(addresses, os.environ[CONTROL_SOCKETS])
    server.open(ConsoleSite(api, server.port))
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
