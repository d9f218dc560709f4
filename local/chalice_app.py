"""Serve an API of the template behind `chalice local`, with the laptop's gateway and server.

`chalice local` loads an app, creates `chalice.local.LocalDevServer` and serves. The app is a `Chalice` that knows the
template's routes, so that chalice's own tools list them. chalice's server loses duplicate headers, chunked bodies and
unknown routes, and delays each request on a reused connection.
"""

import contextlib
import logging
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import NoReturn

import chalice.local
from chalice.app import Chalice
from chalice.cli.filewatch import RESTART_REQUEST_RC

from functions.shared.authentication.ssrf_guard import ON_LOOPBACK
from infra.cloudformation import TemplateError
from local import ROOT, STATE
from local.addresses import CONTROL_SOCKETS, MUTUAL_TLS, Addresses, Service, use_local_aws
from local.cli import LaptopError
from local.console.control_socket import ControlServer, socket_of
from local.gateway.core import Gateway
from local.gateway.lambda_runtime import InProcessLambda, Invoke, shared_environment
from local.gateway.model import AnyMethod, Api
from local.gateway.template import Template
from local.http_client import status_of
from local.http_server import Application, Server
from local.log_output import print_line, print_whole_lines
from local.prefork import fork_workers, may_fork, shares, worker_count
from local.supervisor import SUPERVISED, end_with_supervisor

Provision = Callable[[Addresses], Mapping[str, str]]

RATE_LIMITS = "GATEHOUSE_RATE_LIMITS"
_WATCHED_FOLDERS = ("authorizer", "functions", "local")
_WATCHED_SUFFIXES = (".json", ".py")
_POLL_SECONDS = 1.0
_EVERY_METHOD = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_APIS: Mapping[Service, str] = {"auth_server": "AuthServerApi", "guarded_api": "GuardedApi", "bound_api": "GuardedApi"}


class GatewayApp(Chalice):
    """An API of the template, as a chalice app.

    `provision` starts moto unless it runs, creates the template's resources there, and returns
    their values. `give_up` ends the process with a sentence.
    """

    def __init__(
        self,
        service: Service,
        *,
        template: Path = ROOT / "template.yaml",
        environ: MutableMapping[str, str] = os.environ,
        provision: Provision | None = None,
        give_up: Callable[[str], NoReturn] | None = None,
    ) -> None:
        super().__init__(f"gatehouse-{service.replace('_', '-')}", configure_logs=False)
        self.service: Service = service
        self.environ = environ
        self.give_up = give_up or end_process
        self._provision = provision
        self._gateway: Application | None = None
        self._control: ControlServer | None = None
        try:
            self._template = Template.read(template, _parameters(service, environ))
            self._description = self._template.api(_APIS[service])
        except TemplateError as error:
            self.give_up(f"{template.name}: {error}.")
        except LaptopError as error:
            self.give_up(str(error))
        self._register_routes()
        chalice.local.LocalDevServer = GatewayServer  # type: ignore[misc, assignment]

    def _register_routes(self) -> None:
        """Register the template's routes with chalice, below the stage as in API Gateway."""
        for number, route in enumerate(self._description.routes):
            path = (self._description.base_path + route.path).rstrip("/") or "/"
            methods = _EVERY_METHOD if route.method == AnyMethod else (route.method,)
            decorate = self.route(path, methods=list(methods), name=f"{route.function}{number}")
            decorate(_placeholder)

    def open(self, addresses: Addresses) -> Application:
        """Compose the gateway for these addresses, once.

        Raises:
            LaptopError: two functions of this process need different values of one variable.
        """
        if self._gateway is None:
            self._gateway = self._compose(addresses)
        return self._gateway

    def _compose(self, addresses: Addresses) -> Application:
        for library in ("boto3", "botocore", "werkzeug"):  # chalice sets the root logger to DEBUG
            logging.getLogger(library).setLevel(logging.WARNING)
        values = (self._provision or _provision)(addresses)
        use_local_aws(self.environ, addresses)
        origins = {
            _APIS["auth_server"]: addresses.origin("auth_server"),
            _APIS["guarded_api"]: addresses.origin("bound_api" if self.service == "bound_api" else "guarded_api"),
        }
        names = sorted(self._description.functions())
        functions = [self._template.function(logical_id, values, origins) for logical_id in names]
        self._timeouts = {function.logical_id: function.timeout for function in functions}
        self.environ.update(shared_environment(functions))
        # Clients and issuers publish their keys on the laptop, too.
        self.environ.setdefault("REMOTE_KEYS", ON_LOOPBACK)
        if self.environ.get(MUTUAL_TLS):
            self.environ["MTLS_BASE_URL"] = addresses.mtls_auth_server
        sandboxes = InProcessLambda(functions)
        sandboxes.warm_up()
        if not self.environ.get(CONTROL_SOCKETS):
            return self._gateway_of(sandboxes)
        self._control = ControlServer.build(sandboxes, self.environ, self._gateway_of)
        return self._control.watched

    def follow_aws(self, addresses: Addresses) -> None:
        """Start a thread that ends this process when moto ends.

        Under `make run`, the supervisor ends both.
        """
        if self._provision is None and addresses.aws_endpoint is None and SUPERVISED not in self.environ:
            from local import emulated_aws

            sentence = "AWS (moto) has ended, and its data was deleted. Start this process again."
            emulated_aws.watch(addresses, lambda: self.give_up(sentence))

    def open_console_socket(self, worker: int) -> None:
        """Start a thread that answers the console about this worker process, if there is one."""
        if self._control is not None:
            self._control.open(socket_of(self.environ[CONTROL_SOCKETS], self.service, worker))

    def _gateway_of(self, invoke: Invoke) -> Gateway:
        return Gateway(
            self._description,
            invoke,
            at_root=host_documents(self._description),
            timeouts=self._timeouts,
            throttle=self.environ.get(RATE_LIMITS) != "off",
        )


class GatewayServer(chalice.local.LocalDevServer):
    """Replaces chalice's development server."""

    def __init__(self, app_object: GatewayApp, config: object, host: str, port: int) -> None:
        self.app_object, self.host, self.port = app_object, host, port
        environ, service = app_object.environ, app_object.service
        print_whole_lines(STATE / "logs" / str(port) / f"{service}.json.log")
        self.server = _listening(app_object, host, port)
        try:
            addresses = Addresses.from_env(environ)
            workers = worker_count(environ)
            gateway = app_object.open(addresses.serving(service, host, self.server.port))
        except (LaptopError, TemplateError) as error:
            self.server.server_close()
            in_template = isinstance(error, TemplateError)
            app_object.give_up(f"template.yaml: {error}." if in_template else str(error))
        if service != "auth_server" and environ.get(SUPERVISED):
            # Without the key set, the authorizer would answer 500.
            while status_of(f"{addresses.issuer}/oauth2/jwks") != 200:
                time.sleep(0.05)
        self.server.open(gateway)
        if service == "auth_server" and workers > 1 and may_fork():
            self._fork_workers(workers, app_object)
        app_object.follow_aws(addresses)
        app_object.open_console_socket(worker=0)
        if environ.get(MUTUAL_TLS):
            _open_mutual_tls(app_object, gateway, host, addresses.mtls_port(service))
        end_with_supervisor(environ)
        if environ.get("CHALICE_WORKER"):
            watch_code(ROOT, lambda: os._exit(RESTART_REQUEST_RC), lambda: os._exit(0))

    def _fork_workers(self, workers: int, app: GatewayApp) -> None:
        """Use every core. The guarded API stays one process, so that its caches can be observed."""
        share_of = shares(workers)

        def serve(worker: int) -> None:
            self.server.share = share_of[worker]
            app.open_console_socket(worker)
            self.server.serve_forever()

        self.server.share = share_of[0]
        sentence = "A worker process of the auth server ended unexpectedly."
        fork_workers(workers, serve, lambda: end_process(sentence))


def _listening(app: GatewayApp, host: str, port: int, tls: ssl.SSLContext | None = None) -> Server:
    """Return a server with its port bound. The process ends if the port cannot be bound."""
    log = None if app.environ.get("GATEHOUSE_QUIET") else print_line
    try:
        return Server(host, port, log=log, tls=tls)
    except OSError as error:
        app.give_up(f"Port {port} on {host} cannot be used: {error.strerror}.")


def _open_mutual_tls(app: GatewayApp, gateway: Application, host: str, port: int) -> None:
    """Serve the application a second time, as a custom domain with mutual TLS does."""
    # Imported lazily: plain HTTP does not need the libraries that create certificates.
    from local.certificates import LaptopCertificates

    server = _listening(app, host, port, LaptopCertificates.ensure().server_context())
    server.open(gateway)
    threading.Thread(target=server.serve_forever, name="mutual TLS", daemon=True).start()


def end_process(sentence: str) -> NoReturn:
    """Print a sentence and end the process, also from the thread of chalice's reloader."""
    print(sentence, file=sys.stderr, flush=True)
    os._exit(1)


def watch_code(
    root: Path, on_change: Callable[[], None], on_orphaned: Callable[[], None], parent: Callable[[], int] = os.getppid
) -> None:
    """Watch code and parent in a thread, and call one of the functions once.

    `on_change` is called if code below `root` or the template changes, `on_orphaned` if the parent process ends.
    chalice's reloader watches only its project folder, which has no functions, and does not end its worker.
    """
    before = snapshot(root)
    started_by = parent()

    def poll() -> None:
        while snapshot(root) == before:
            if parent() != started_by:
                on_orphaned()
                return
            time.sleep(_POLL_SECONDS)
        on_change()

    threading.Thread(target=poll, name="watch code", daemon=True).start()


def snapshot(root: Path) -> dict[str, int]:
    """Return the time of each watched file's last change, in nanoseconds since the epoch."""
    folders = (root / name for name in _WATCHED_FOLDERS)
    files = (path for folder in folders for path in folder.rglob("*") if path.suffix in _WATCHED_SUFFIXES)
    found: dict[str, int] = {}
    for path in (root / "template.yaml", *files):
        with contextlib.suppress(FileNotFoundError):
            found[str(path)] = path.stat().st_mtime_ns
    return found


def host_documents(api: Api) -> frozenset[str]:
    """Return the paths of documents that describe `api` and are served at the host's root.

    They begin with /.well-known/ (RFC 8615) and end with the stage (RFC 8414, 3.1).
    """
    return frozenset(
        route.path
        for route in api.routes
        if route.path.startswith("/.well-known/") and route.path.endswith(f"/{api.stage}")
    )


def _parameters(service: Service, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the template's parameters that differ from their defaults.

    A DPoP proof names the address of the bound API, so its authorizer needs the address, too.
    """
    if service != "bound_api":
        return {}
    return {
        "ProofOfPossession": "dpop,mtls",
        "AuthorizerCacheSeconds": "0",
        "ResourceUrl": Addresses.from_env(environ).bound_api_url,
    }


def _provision(addresses: Addresses) -> Mapping[str, str]:
    from local import emulated_aws

    return emulated_aws.ensure(addresses)


def _placeholder() -> None:
    """Is registered with chalice but never called: `GatewayServer` serves the gateway instead."""
