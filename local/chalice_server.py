"""What `chalice local` serves with: our server, in as many processes as there are cores.

chalice's own loses duplicate headers, chunked bodies and unknown routes, and makes every kept
connection wait for a delayed acknowledgement.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import chalice.local

from infra.cloudformation import TemplateError
from local import reloading
from local.addresses import MUTUAL_TLS, Addresses
from local.cli import LaptopError
from local.http_server.server import Server
from local.prefork import fork_workers, may_fork, shares, worker_count
from local.readiness import wait_for_key_set
from local.supervisor import SUPERVISED, end_with_parent
from local.whole_lines import print_whole_lines

if TYPE_CHECKING:
    import ssl

    from local.chalice_shell import GatewayApp

__all__ = ["GatewayServer", "end_process"]

ROOT = Path(__file__).resolve().parent.parent


class GatewayServer(chalice.local.LocalDevServer):
    """What `chalice local` serves with: our server instead of chalice's."""

    def __init__(self, app_object: GatewayApp, config: object, host: str, port: int) -> None:
        self.app_object = app_object
        self.host = host
        self.port = port
        print_whole_lines(
            ROOT / ".gatehouse" / "logs" / str(port) / f"{app_object.service}.json.log"
        )
        self.server = _listening(app_object, host, port)
        try:
            addresses = Addresses.from_env(app_object.environ)
            workers = worker_count(app_object.environ)
            app_object.open(addresses.serving(app_object.service, host, self.server.port))
        except (LaptopError, TemplateError) as error:
            self.server.server_close()
            in_template = isinstance(error, TemplateError)
            app_object.give_up(f"template.yaml: {error}." if in_template else str(error))
        if app_object.service != "auth_server" and app_object.environ.get(SUPERVISED):
            # Before that, its authorizer could not fetch the key set and would answer 500.
            wait_for_key_set(addresses.issuer)
        self.server.open(app_object)
        if app_object.service == "auth_server" and workers > 1 and may_fork():
            self._fork_workers(workers, app_object)
        app_object.follow_aws(addresses)
        app_object.let_console_in(0)
        if app_object.environ.get(MUTUAL_TLS):
            _open_mutual_tls(app_object, host, addresses.mtls_port(app_object.service))
        if app_object.environ.get(SUPERVISED):
            end_with_parent()
        if app_object.environ.get("CHALICE_WORKER"):
            reloading.watch(ROOT, reloading.restart_chalice, reloading.end)

    def _fork_workers(self, workers: int, app: GatewayApp) -> None:
        """Share the work among the cores; the guarded API stays one process and caches once."""
        share_of = shares(workers)

        def serve(own: int) -> None:
            self.server.share = share_of[own]
            app.let_console_in(own)
            self.server.serve_forever()

        self.server.share = share_of[0]
        fork_workers(workers, serve, _end_with_worker)


def _listening(app: GatewayApp, host: str, port: int, tls: ssl.SSLContext | None = None) -> Server:
    """Return a server that has its port; the process ends when it cannot have it."""
    log = None if app.environ.get("GATEHOUSE_QUIET") else _say
    try:
        return Server(host, port, log=log, tls=tls)
    except OSError as error:
        app.give_up(f"Port {port} on {host} cannot be used: {error.strerror}.")


def _open_mutual_tls(app: GatewayApp, host: str, port: int) -> None:
    """Serve the application a second time, as a custom domain with mutual TLS does."""
    # Imported here because plain HTTP does without the libraries that make certificates.
    from local.certificates import LaptopCertificates

    server = _listening(app, host, port, LaptopCertificates.ensure().server_context())
    server.open(app)
    threading.Thread(target=server.serve_forever, name="mutual TLS", daemon=True).start()


def _end_with_worker() -> None:
    end_process("A worker process of the auth server ended unexpectedly.")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def end_process(sentence: str) -> NoReturn:
    """Say why and end the process, also from the thread in which chalice's reloader serves."""
    print(sentence, file=sys.stderr, flush=True)
    os._exit(1)
