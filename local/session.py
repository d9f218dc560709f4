"""One run of the laptop edition: start everything, tell the story, stay up."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import sys
import time
from dataclasses import replace

from infra.local_stack import access_key_file
from local.addresses import (
    Addresses,
    with_free_ports,
)
from local.console.backstage import new_folder
from local.starting import ROOT, logs_of, start_everything
from local.supervisor import Supervisor
from local.walkthrough import Walkthrough

__all__ = ["run", "what_next"]


def what_next(addresses: Addresses) -> str:
    """Say how to stop and what to try."""
    token = f"{addresses.issuer}/oauth2/token"
    logs = logs_of(addresses).relative_to(ROOT)
    return f"""
Everything is up. Press Ctrl-C to stop it. A line for each request follows; the functions' logs
(JSON) are in {logs}.
  console      {_console(addresses)}
  auth server  {addresses.issuer}
  guarded API  {addresses.guarded_api}
  bound API    {_bound_api(addresses)}
  AWS (moto)   {addresses.aws_url} (access key in {access_key_file(addresses.aws_port)})
  mutual TLS   {_mutual_tls(addresses)}

Try in another terminal:
  TOKEN=$(curl -s {token} -u service-client-jwt:service-client-jwt-secret \\
      -d grant_type=client_credentials -d scope=country.read | cut -d '"' -f 4)
  curl -i {addresses.guarded_api}/country/code/nz -H "Authorization: Bearer $TOKEN"
  curl -i '{addresses.guarded_api}/country?limit=3' -H "Authorization: Bearer $TOKEN"
"""


def _console(addresses: Addresses) -> str:
    if not addresses.console:
        return "off, as wanted or because its port is taken: see GATEHOUSE_CONSOLE_PORT"
    return f"{addresses.console_url} (in a browser: watch it work, and break it)"


def _bound_api(addresses: Addresses) -> str:
    if not addresses.bound_api:
        return "off, because its port is taken: see GATEHOUSE_BOUND_API_PORT"
    behind_tls = f", {addresses.mtls_bound_api}" if addresses.mutual_tls else ""
    return (
        f"{addresses.bound_api_url}{behind_tls}\n"
        "               (the guarded API for tokens bound to a key: see docs/tokens.md)"
    )


def _mutual_tls(addresses: Addresses) -> str:
    if not addresses.mutual_tls:
        return "off, because its ports are taken: see GATEHOUSE_MTLS_PORT in the README"
    return (
        f"{addresses.mtls_auth_server} and {addresses.mtls_guarded_api}\n"
        "               (certificates in .gatehouse/tls; see docs/client-authentication.md)"
    )


def warn_of_neighbours(host: str) -> None:
    """Say what binding to more than the loopback interface means."""
    with contextlib.suppress(ValueError):
        if not ipaddress.ip_address(host).is_loopback:
            print(f"Note: on {host}, everyone who reaches this machine may use the demo clients.")


def is_abandoned(parent: int) -> bool:
    """Tell whether make or the terminal is gone; a signal does not always say so."""
    if "MAKELEVEL" in os.environ and os.getppid() != parent:
        return True
    output = select.poll()
    output.register(sys.stdout.fileno(), select.POLLHUP)
    return bool(output.poll(0))


def run(*, check: bool) -> int:
    """Run the laptop edition; return the exit code."""
    started = time.monotonic()
    parent = os.getppid()
    # It always runs an AWS of its own, also for people whose shell points to another one.
    os.environ.pop("AWS_ENDPOINT_URL", None)
    addresses = Addresses.from_env(os.environ)
    addresses = with_free_ports(addresses)
    warn_of_neighbours(addresses.host)
    if check:
        addresses = replace(addresses, bound_api=False)
    with (
        new_folder() as folder,
        Supervisor(logs_of(addresses)) as supervisor,
    ):
        start_everything(supervisor, addresses, folder if addresses.console and not check else None)
        print(f"Started in {time.monotonic() - started:.1f} seconds.")
        print("The clients' secrets below are public: they exist on laptops only.", flush=True)
        walkthrough = Walkthrough(addresses)
        walkthrough.run()
        for failure in walkthrough.failures:
            print(f"FAILED {failure}", file=sys.stderr)
        if check:
            print("\nThe walkthrough " + ("failed." if walkthrough.failures else "holds."))
            return 1 if walkthrough.failures else 0
        print(what_next(addresses), flush=True)
        supervisor.echo()
        supervisor.watch(until=lambda: is_abandoned(parent))
    return 0
