"""The laptop's AWS: one moto server, provisioned from template.yaml.

It is a process of its own, `python -m local.aws`. `make run` starts it, and it ends with that. An
API started by hand uses the one that is there and starts one when none is; such a one ends with the
last API that uses it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local_stack import read_access_key
from local.addresses import Addresses
from local.aws_account import use_local_aws
from local.aws_gate import AwsGate
from local.cli import LaptopError
from local.followers import Answer, Followers, follow
from local.gateway.template import Template
from local.http_server import Accept
from local.provisioning import names, provision
from local.supervisor import SUPERVISED, end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["TEMPLATE", "ensure", "watch"]

START_SECONDS = 30.0
FOLLOWED = "GATEHOUSE_FOLLOWED"
"""Names the first process that moto serves."""

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
"""The stack that the laptop edition plays."""


def ensure(addresses: Addresses, template: Template) -> Mapping[str, str]:
    """Wait until the laptop's AWS is provisioned; return its names by logical id.

    With AWS_ENDPOINT_URL set, the user runs it. Otherwise a moto that already listens on the
    AWS port is used, and where none does, one starts. `make run` starts it by itself.

    Raises:
        LaptopError: something else listens there, or moto does not come up.
    """
    if addresses.aws_endpoint is None:
        _join(addresses.aws_port)
    return names(template)


def _join(port: int) -> None:
    """Be one of those that moto serves, and start it when it is not there."""
    # A reload of the code must lose no keys: chalice's parent process is the one that stays.
    process = os.getppid() if "CHALICE_WORKER" in os.environ else os.getpid()
    started: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_SECONDS
    while (answer := follow(port, process, read_access_key(port))) is not Answer.YES:
        if answer is Answer.STRANGER or time.monotonic() > deadline:
            raise LaptopError(
                f"What listens on port {port} is no AWS that Gatehouse started: "
                "end it, or choose another port with GATEHOUSE_AWS_PORT."
            )
        may_start = SUPERVISED not in os.environ and (started is None or started.poll() is not None)
        if answer is Answer.NOBODY and may_start:
            started = _start(port, process)
        time.sleep(0.1)


def _start(port: int, process: int) -> subprocess.Popen[bytes]:
    """Start moto as a process of its own that serves `process`.

    A Ctrl-C in this terminal does not reach it, for an API in another one may use it too.
    """
    environ = {**os.environ, "GATEHOUSE_AWS_PORT": str(port), FOLLOWED: str(process)}
    environ.pop(SUPERVISED, None)
    command = [sys.executable, "-m", "local.aws"]
    return subprocess.Popen(command, cwd=ROOT, env=environ, start_new_session=True)


def watch(addresses: Addresses, on_end: Callable[[], None]) -> None:
    """Call `on_end`, from a thread, when the moto that `ensure` found or started has ended.

    A connection on which nothing is ever said tells: the system closes it with the process.
    """

    def hold() -> None:
        address = ("127.0.0.1", addresses.aws_port)
        with contextlib.suppress(OSError), socket.create_connection(address) as held:
            held.recv(1)
        on_end()

    threading.Thread(target=hold, name="AWS", daemon=True).start()


def start(addresses: Addresses, template: Template, followers: Followers) -> AwsGate:
    """Start moto inside this process, provision it, and return its open gate.

    Raises:
        OSError: the port is taken.
        LaptopError: the access key cannot be written.
    """
    # Read by moto when it is imported: no page of another origin may read its responses.
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
    # Always on the loopback address, because it holds private keys.
    listener = socket.create_server(("127.0.0.1", addresses.aws_port))
    # Imported here because it takes long, and processes that need only the names do without.
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    from local.atomic_writes import make_writes_atomic

    make_writes_atomic()
    gate = AwsGate(addresses.aws_port)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(
        "127.0.0.1",
        addresses.aws_port,
        gate.in_front_of(followers.in_front_of(DomainDispatcherApplication(create_backend_app))),
        threaded=True,
        fd=listener.detach(),
    )
    server.get_request = Accept(server.socket.accept)  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use_local_aws(os.environ, addresses, gate.access_key)
    provision(template)
    gate.open()
    return gate


def main() -> int:
    """Run moto until nobody is left who wants it."""
    if os.environ.get(SUPERVISED):
        end_with_parent()
    followers = Followers(int(os.environ.get(FOLLOWED, os.getppid())))
    addresses = Addresses.from_env(os.environ)
    try:
        gate = start(addresses, Template.read(TEMPLATE), followers)
    except OSError as error:
        # Two that are started by hand at once may both try: who comes first serves both.
        print(f"moto cannot use port {addresses.aws_port}: {error.strerror}.", file=sys.stderr)
        return 1
    except LaptopError as error:
        print(error, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        while followers.remain():
            time.sleep(0.1)
    gate.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
