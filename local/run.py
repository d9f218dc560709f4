"""`make run`: start everything on this machine, tell the story, stay up.

python -m local.run            start, show the walkthrough, stay up until Ctrl-C
python -m local.run --check    start, check every answer of the walkthrough, stop (exit 0 or 1)
"""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import os
import select
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from local.addresses import MUTUAL_TLS, Addresses
from local.certificates import LaptopCertificates
from local.console.backstage import BACKSTAGE
from local.environment import use_local_aws
from local.errors import LaptopError
from local.supervisor import Supervisor
from local.walkthrough import Walkthrough

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".gatehouse" / "logs"  # below it a folder for each run, named after its port
START_SECONDS = 60.0
LOOPBACK = "127.0.0.1"


def refuse_taken_ports(addresses: Addresses) -> None:
    """Raise LaptopError when we cannot listen where we want to."""
    refuse_unusable_host(addresses.host)
    for variable, port in addresses.ports().items():
        trouble = why_not_listen(addresses.host, port)
        if trouble:
            raise LaptopError(
                f"Cannot listen on {addresses.host}:{port} ({trouble}): "
                f"end what uses it, or choose another port with {variable}."
            )


def refuse_unusable_host(host: str) -> None:
    """Raise LaptopError when the bind address is none of this machine's."""
    trouble = why_not_listen(host, 0)
    if trouble:
        raise LaptopError(f"GATEHOUSE_HOST is {host}, where nothing can listen ({trouble}).")


def why_not_listen(host: str, port: int) -> str | None:
    """Say why a port cannot be listened on, or None when it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror
    return None


def without_taken_mutual_tls(addresses: Addresses) -> Addresses:
    """Leave mutual TLS out when its ports are taken and nobody asked for just these."""
    ports = (addresses.mtls_auth_port, addresses.mtls_api_port)
    taken = any(why_not_listen(addresses.host, port) for port in ports)
    return replace(addresses, mutual_tls=not taken)


def without_taken_console(addresses: Addresses) -> Addresses:
    """Leave the console out when its port is taken and nobody asked for just this one."""
    taken = why_not_listen(LOOPBACK, addresses.console_port)
    return replace(addresses, console=addresses.console and not taken)


def start_everything(
    supervisor: Supervisor, addresses: Addresses, backstage: str | None = None
) -> None:
    """Start moto and both APIs, and return when each of them answers.

    With a folder for `backstage` the console is started too, which looks into them through it.
    """
    env = dict(os.environ)
    use_local_aws(env, addresses)
    if backstage is not None:
        env[BACKSTAGE] = backstage
    if addresses.mutual_tls:
        LaptopCertificates.ensure()
        env[MUTUAL_TLS] = "1"
    chalice = str(Path(sys.executable).parent / "chalice")
    print(f"Starting AWS (moto) on {addresses.aws_url} …", flush=True)
    supervisor.start("aws", [sys.executable, "-m", "local.aws"], cwd=ROOT, env=env)
    for name, project, port, url in (
        ("auth server", "auth_server", addresses.auth_port, addresses.issuer),
        ("guarded API", "guarded_api", addresses.api_port, addresses.guarded_api),
    ):
        print(f"Starting the {name} on {url} …", flush=True)
        command = [chalice, "local", "--no-autoreload", "--host", addresses.host]
        directory = ROOT / "local" / project
        supervisor.start(name, [*command, "--port", str(port)], cwd=directory, env=env)
    awaited = [
        ("The auth server", f"{addresses.issuer}/oauth2/jwks", http.client.OK),
        ("The guarded API", f"{addresses.guarded_api}/country", http.client.UNAUTHORIZED),
    ]
    if backstage is not None:
        supervisor.start("console", [sys.executable, "-m", "local.console"], cwd=ROOT, env=env)
        awaited.append(("The console", f"{addresses.console_url}/", http.client.OK))
    for what, url, status in awaited:
        supervisor.wait_until(lambda: _status(url) == status, what, seconds=START_SECONDS)  # noqa: B023 - called before the next turn


def _status(url: str) -> int | None:
    """Return the status that a GET is answered with, or None when nobody answers."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", address.path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def what_next(addresses: Addresses) -> str:
    """Say how to stop and what to try."""
    token = f"{addresses.issuer}/oauth2/token"
    logs = f".gatehouse/logs/{addresses.auth_port}"
    return f"""
Everything is up. Press Ctrl-C to stop it. Its log lines follow; they are also kept in {logs}.
  console      {_console(addresses)}
  auth server  {addresses.issuer}
  guarded API  {addresses.guarded_api}
  AWS (moto)   {addresses.aws_url}
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
    refuse_taken_ports(addresses)
    warn_of_neighbours(addresses.host)
    addresses = without_taken_console(without_taken_mutual_tls(addresses))
    with (
        TemporaryDirectory(prefix="gatehouse-") as folder,
        Supervisor(LOGS / str(addresses.auth_port)) as supervisor,
    ):
        start_everything(supervisor, addresses, folder if addresses.console and not check else None)
        print(f"Started in {time.monotonic() - started:.1f} seconds.", flush=True)
        walkthrough = Walkthrough(addresses)
        walkthrough.run()
        for failure in walkthrough.failures:
            print(f"Not as told: {failure}", file=sys.stderr)
        if check:
            print("\nThe walkthrough " + ("failed." if walkthrough.failures else "holds."))
            return 1 if walkthrough.failures else 0
        print(what_next(addresses), flush=True)
        supervisor.echo()
        supervisor.watch(until=lambda: is_abandoned(parent))
    return 0


def main() -> int:
    """Run, and turn interruptions and known troubles into exit codes and one sentence."""
    # A SIGTERM (make, an IDE) or a closed terminal ends us as Ctrl-C does: children first. A script
    # that starts us in the background has SIGINT ignored, unless we say otherwise.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        return run(check="--check" in sys.argv[1:])
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except BrokenPipeError:
        # Who read us has gone (`make run | head`); Python must not try to flush for them at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except LaptopError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
