"""Serve the console beside a running laptop edition: `python -m local.console`.

`make run` starts it. The processes that it looks into name their folder in GATEHOUSE_BACKSTAGE.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import replace

from local.addresses import BOUND_API, MUTUAL_TLS, Addresses
from local.aws_account import use_local_aws
from local.console.backstage import BACKSTAGE
from local.console.desk import build
from local.console.web import ConsoleSite
from local.http_server import Server
from local.supervisor import SUPERVISED, end_with_parent

LOOPBACK = "127.0.0.1"


def main() -> int:
    """Serve until a signal says to end, or the process that started this one is gone."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if os.environ.get(SUPERVISED):
        end_with_parent()
    addresses = Addresses.from_env(os.environ)
    addresses = replace(
        addresses,
        mutual_tls=bool(os.environ.get(MUTUAL_TLS)),
        bound_api=bool(os.environ.get(BOUND_API)),
    )
    try:
        server = Server(LOOPBACK, addresses.console_port)
    except OSError as error:
        print(f"Port {addresses.console_port} cannot be used: {error.strerror}.", file=sys.stderr)
        return 1
    use_local_aws(os.environ, addresses)
    desk = build(addresses, os.environ[BACKSTAGE])
    server.open(ConsoleSite(desk, server.port))
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
