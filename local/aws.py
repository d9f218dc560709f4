"""The laptop's AWS: one moto server, provisioned from template.yaml.

`make run` starts it as a process of its own (`python -m local.aws`). An API started by hand brings
its own when none is there.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from local.addresses import Addresses
from local.environment import use_local_aws
from local.errors import LaptopError
from local.gateway.template import Template
from local.provisioning import is_provisioned, names, provision
from local.supervisor import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TEMPLATE", "ensure", "laptop_environment"]

PROVISION_SECONDS = 10.0

TEMPLATE = Path(__file__).resolve().parent.parent / "template.yaml"
"""The stack that the laptop edition plays."""


def laptop_environment(addresses: Addresses) -> dict[str, str]:
    """Environment for the processes that `make run` starts: theirs is the AWS that it runs."""
    environ = dict(os.environ)
    use_local_aws(environ, addresses)
    return environ


def ensure(addresses: Addresses, template: Template) -> Mapping[str, str]:
    """Make sure that the laptop's AWS is there; return its names by logical id.

    With AWS_ENDPOINT_URL set, whoever set it runs it. Otherwise a moto that already listens on the
    AWS port is used, and where none does, one starts inside this process.
    """
    if addresses.aws_endpoint is None:
        try:
            start(addresses, template)
        except OSError:  # somebody else has the port: who comes first brings moto along
            _wait_until_provisioned(addresses, template)
    return names(template)


def start(addresses: Addresses, template: Template) -> None:
    """Start moto inside this process and provision it.

    Raises:
        OSError: the port is taken.
    """
    # Always on the loopback address: what it holds is nobody else's business.
    listener = socket.create_server(("127.0.0.1", addresses.aws_port))
    # Heavy imports, and often not needed here.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415
    from werkzeug.serving import make_server  # noqa: PLC0415

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


def main() -> None:
    """Run moto until this process is told to stop."""
    end_with_parent()
    start(Addresses.from_env(os.environ), Template.read(TEMPLATE))
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
