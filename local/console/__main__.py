"""Serve the console of a running laptop edition: `python -m local.console`.

`make run` starts it. GATEHOUSE_CONTROL_SOCKETS names the folder of the other processes' sockets.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import replace

from local.addresses import BOUND_API, CONTROL_SOCKETS, LOOPBACK, MUTUAL_TLS, Addresses
from local.aws_account import use_local_aws
from local.console.api import ConsoleApi, ConsoleSite
from local.http_server import Server
from local.supervisor import SUPERVISED, end_with_parent


def main() -> int:
    """Serve until a signal arrives or the parent process ends."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if os.environ.get(SUPERVISED):
        end_with_parent()
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
