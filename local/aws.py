"""The laptop's AWS: one moto server, provisioned from template.yaml.

It is a process of its own, `python -m local.aws`. `make run` starts it; an API started by hand
starts it when none is there.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from local.addresses import Addresses
from local.environment import use_local_aws
from local.errors import LaptopError
from local.gateway.template import Template
from local.provisioning import is_provisioned, names, provision
from local.supervisor import SUPERVISED, end_with_parent, is_alive

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TEMPLATE", "ensure"]

PROVISION_SECONDS = 15.0
FOLLOWED = "GATEHOUSE_FOLLOWED"
"""Names the process with whose end moto ends."""

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
"""The stack that the laptop edition plays."""


def ensure(addresses: Addresses, template: Template) -> Mapping[str, str]:
    """Make sure that the laptop's AWS is there; return its names by logical id.

    With AWS_ENDPOINT_URL set, whoever set it runs it. Otherwise a moto that already listens on the
    AWS port is used, and where none does, one starts that ends with `chalice local`.
    """
    if addresses.aws_endpoint is None:
        if not _is_listening(addresses):
            _start_beside_chalice(addresses)
        _wait_until_provisioned(addresses, template)
    return names(template)


def _start_beside_chalice(addresses: Addresses) -> None:
    """Start moto as a process of its own, so that a reload of the code loses no keys."""
    is_reloaded = "CHALICE_WORKER" in os.environ
    environ = dict(os.environ)
    environ.pop(SUPERVISED, None)
    environ["GATEHOUSE_AWS_PORT"] = str(addresses.aws_port)
    environ[FOLLOWED] = str(os.getppid() if is_reloaded else os.getpid())
    subprocess.Popen([sys.executable, "-m", "local.aws"], cwd=ROOT, env=environ)


def _is_listening(addresses: Addresses) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", addresses.aws_port)) == 0


def start(addresses: Addresses, template: Template) -> None:
    """Start moto inside this process and provision it.

    Raises:
        OSError: the port is taken.
    """
    # Always on the loopback address: what it holds is nobody else's business.
    listener = socket.create_server(("127.0.0.1", addresses.aws_port))
    # Heavy, and whoever only asks for names does without.
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - see above
        DomainDispatcherApplication,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415 - see above

    from local.atomic_writes import make_writes_atomic  # noqa: PLC0415 - see above

    make_writes_atomic()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(
        "127.0.0.1",
        addresses.aws_port,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        fd=listener.detach(),
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use_local_aws(os.environ, addresses)
    provision(template)


def _wait_until_provisioned(addresses: Addresses, template: Template) -> None:
    deadline = time.monotonic() + PROVISION_SECONDS
    while not is_provisioned(template):
        if time.monotonic() > deadline:
            raise LaptopError(
                f"What listens on port {addresses.aws_port} is no AWS that Gatehouse started: "
                "end it, or choose another port with GATEHOUSE_AWS_PORT."
            )
        time.sleep(0.1)


def main() -> int:
    """Run moto until the process that wants it is gone."""
    if os.environ.get(SUPERVISED):
        end_with_parent()
    followed = int(os.environ.get(FOLLOWED, os.getppid()))
    addresses = Addresses.from_env(os.environ)
    try:
        start(addresses, Template.read(TEMPLATE))
    except OSError as error:
        # Two that are started by hand at once may both try: who comes first serves both.
        print(f"moto cannot use port {addresses.aws_port}: {error.strerror}.", file=sys.stderr)
        return 1
    while is_alive(followed):
        time.sleep(0.5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
