"""The laptop's AWS: one moto server, provisioned from template.yaml.

`make run` starts it as a process of its own (`python -m local.aws`). An API started by hand brings
its own when none is there.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from local.addresses import Addresses
from local.environment import use_local_aws
from local.gateway.template import Template
from local.provisioning import names, provision
from local.supervisor import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TEMPLATE", "ensure", "laptop_environment"]

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
    if addresses.aws_endpoint is None and not _is_listening(addresses):
        start(addresses, template)
    return names(template)


def start(addresses: Addresses, template: Template) -> None:
    """Start moto inside this process and provision it."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  heavy, and often not needed here

    use_local_aws(os.environ, addresses)
    server = ThreadedMotoServer(addresses.host, addresses.aws_port, verbose=False)
    server.start()
    provision(template)


def _is_listening(addresses: Addresses) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((addresses.host, addresses.aws_port)) == 0


def main() -> None:
    """Run moto until this process is told to stop."""
    end_with_parent()
    start(Addresses.from_env(os.environ), Template.read(TEMPLATE))
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
