"""`make run`: start everything on this machine, tell the story, stay up.

python -m local.run            start, show the walkthrough, stay up until Ctrl-C
python -m local.run --check    start, check every answer of the walkthrough, stop (exit 0 or 1)
"""

import http.client
import os
import signal
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from local.addresses import Addresses
from local.aws import laptop_environment
from local.errors import LaptopError
from local.supervisor import Supervisor
from local.walkthrough import Walkthrough

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".gatehouse" / "logs"
START_SECONDS = 60.0


def refuse_taken_ports(addresses: Addresses) -> None:
    """Raise LaptopError when something already listens where we want to."""
    ports = {
        "GATEHOUSE_AWS_PORT": addresses.aws_port,
        "GATEHOUSE_AUTH_PORT": addresses.auth_port,
        "GATEHOUSE_API_PORT": addresses.api_port,
    }
    for variable, port in ports.items():
        with socket.socket() as probe:
            # As the servers do: a port whose last connections are still closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((addresses.host, port))
            except OSError as error:
                raise LaptopError(
                    f"Cannot listen on {addresses.host}:{port} ({error.strerror}): "
                    f"end what uses it, or choose another port with {variable}."
                ) from error


def start_everything(supervisor: Supervisor, addresses: Addresses) -> None:
    """Start moto and both APIs, and return when each of them answers."""
    env = laptop_environment(addresses)
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
    for what, url, status in (
        ("The auth server", f"{addresses.issuer}/oauth2/jwks", http.client.OK),
        ("The guarded API", f"{addresses.guarded_api}/country", http.client.UNAUTHORIZED),
    ):
        supervisor.wait_until(lambda: _status(url) == status, what, seconds=START_SECONDS)  # noqa: B023


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
    return f"""
Everything is up. Press Ctrl-C to stop it. Its log lines follow; the logs are in .gatehouse/logs.
  auth server  {addresses.issuer}
  guarded API  {addresses.guarded_api}
  AWS (moto)   {addresses.aws_url}

Try in another terminal:
  TOKEN=$(curl -s {token} -u service-client-jwt:service-client-jwt-secret \\
      -d grant_type=client_credentials -d scope=country.read | cut -d '"' -f 4)
  curl -i {addresses.guarded_api}/country/code/nz -H "Authorization: Bearer $TOKEN"
  curl -i '{addresses.guarded_api}/country?limit=3' -H "Authorization: Bearer $TOKEN"
"""


def run(*, check: bool) -> int:
    """Run the laptop edition; return the exit code."""
    started = time.monotonic()
    addresses = Addresses.from_env(os.environ)
    refuse_taken_ports(addresses)
    with Supervisor(LOGS) as supervisor:
        start_everything(supervisor, addresses)
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
        supervisor.watch()
    return 0


def main() -> int:
    """Run, and turn interruptions and known troubles into exit codes and one sentence."""
    # A SIGTERM (make, an IDE) or a closed terminal ends us as Ctrl-C does: children first.
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)
    try:
        return run(check="--check" in sys.argv[1:])
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except LaptopError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
