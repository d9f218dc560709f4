"""`make run`: start every service on this machine, run the walkthrough, serve until Ctrl-C.

`python -m local.cli local.run --check` checks every response of the walkthrough and stops (exit code 0 or 1).
With `--stack TEMPLATE` the API of another template is served, too: see local/external_stack.py.
"""

import argparse
import contextlib
import ipaddress
import os
import select
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from infra.local_stack import access_key_file
from local import ROOT, STATE
from local.addresses import BOUND_API, CONTROL_SOCKETS, MUTUAL_TLS, Addresses, use_local_aws, with_free_ports
from local.http_client import status_of
from local.supervisor import Supervisor
from local.walkthrough import Walkthrough

_START_SECONDS = 60.0
_LONGEST_PARENT = 60


def main() -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="local.run", description="Start every service on this machine.")
    parser.add_argument("--check", action="store_true", help="check the walkthrough and stop")
    parser.add_argument("--stack", metavar="TEMPLATE", type=Path, help="serve the API of this template as well")
    parser.add_argument("--stack-port", metavar="PORT", type=int, default=8101)
    given = parser.parse_args()
    started = time.monotonic()
    parent = os.getppid()
    # The laptop edition always runs its own AWS, even if the shell names another endpoint.
    os.environ.pop("AWS_ENDPOINT_URL", None)
    addresses = with_free_ports(Addresses.from_env(os.environ))
    warn_of_network(addresses.host)
    if given.check:
        addresses = replace(addresses, bound_api=False, console=False)
    with socket_folder() as sockets, Supervisor(logs_of(addresses)) as supervisor:
        start_everything(supervisor, addresses, sockets if addresses.console else None)
        if given.stack:
            start_stack(supervisor, addresses, given.stack, given.stack_port)
        print(f"Started in {time.monotonic() - started:.1f} seconds.")
        print("The clients' secrets below are public: they exist on laptops only.", flush=True)
        walkthrough = Walkthrough(addresses)
        walkthrough.run()
        for failure in walkthrough.failures:
            print(f"FAILED {failure}", file=sys.stderr)
        if given.check:
            print("\nThe walkthrough " + ("failed." if walkthrough.failures else "holds."))
            return 1 if walkthrough.failures else 0
        stack_url = f"http://localhost:{given.stack_port}" if given.stack else ""
        if stack_url:
            supervisor.wait_until(lambda: status_of(stack_url) is not None, "The stack", seconds=_START_SECONDS)
        print(next_steps(addresses, stack_url), flush=True)
        supervisor.echo()
        supervisor.watch(until=lambda: is_abandoned(parent))
    return 0


def start_everything(supervisor: Supervisor, addresses: Addresses, control_sockets: str | None = None) -> None:
    """Start moto and the APIs, and return when each of them answers.

    With a folder for control sockets the console is started, too.
    """
    env = dict(os.environ)
    use_local_aws(env, addresses)
    # With an endpoint set, a child would not wait until moto is provisioned.
    del env["AWS_ENDPOINT_URL"]
    if control_sockets is not None:
        env[CONTROL_SOCKETS] = control_sockets
    if addresses.mutual_tls:
        from local.certificates import LaptopCertificates

        LaptopCertificates.ensure()
        env[MUTUAL_TLS] = "1"
    chalice = str(Path(sys.executable).parent / "chalice")
    print(f"Starting AWS (moto) on {addresses.aws_url} …", flush=True)
    supervisor.start("aws", [sys.executable, "-m", "local.emulated_aws"], cwd=ROOT, env=env)
    apis = [
        ("auth server", "auth_server", addresses.auth_port, addresses.issuer),
        ("guarded API", "guarded_api", addresses.api_port, addresses.guarded_api),
    ]
    if addresses.bound_api:
        apis.append(("bound API", "bound_api", addresses.bound_api_port, addresses.bound_api_url))
    for name, project, port, url in apis:
        print(f"Starting the {name} on {url} …", flush=True)
        command = [chalice, "local", "--no-autoreload", "--host", addresses.host]
        directory = ROOT / "local" / project
        supervisor.start(name, [*command, "--port", str(port)], cwd=directory, env=env)

    def wait_for(what: str, url: str, status: int) -> None:
        supervisor.wait_until(lambda: status_of(url) == status, what, seconds=_START_SECONDS)

    wait_for("The auth server", f"{addresses.issuer}/oauth2/jwks", 200)
    wait_for("The guarded API", f"{addresses.guarded_api}/country", 401)
    if addresses.bound_api:
        wait_for("The bound API", f"{addresses.bound_api_url}/country", 401)
        env[BOUND_API] = "1"
    if control_sockets is not None:
        # The console starts last, because its page needs every other service.
        supervisor.start("console", [sys.executable, "-m", "local.console.api"], cwd=ROOT, env=env)
        wait_for("The console", f"{addresses.console_url}/", 200)


def start_stack(supervisor: Supervisor, addresses: Addresses, template: Path, port: int) -> None:
    """Start the API of a template."""
    print(f"Starting the stack of {template} on http://localhost:{port} …", flush=True)
    command = [sys.executable, "-m", "local.external_stack", str(template.resolve()), "--port", str(port)]
    env = dict(os.environ)
    use_local_aws(env, addresses)
    supervisor.start("stack", command, cwd=ROOT, env=env)


def logs_of(addresses: Addresses) -> Path:
    """Return the folder of a run's logs; a run on other ports has another one."""
    return STATE / "logs" / str(addresses.auth_port)


def socket_folder() -> TemporaryDirectory[str]:
    """Create a private folder for sockets, whose paths are limited to 104 bytes (unix(7))."""
    usual = gettempdir()
    is_short = len(os.fsencode(usual)) <= _LONGEST_PARENT
    return TemporaryDirectory(prefix="gatehouse-", dir=usual if is_short else "/tmp")  # noqa: S108 - the folder itself has a random name and mode 0700


def next_steps(addresses: Addresses, stack_url: str = "") -> str:
    """Return the services' addresses, and commands to try."""
    taken, below = "off, because its port is taken: see", "\n" + " " * 15
    services = {
        "console": "off (disabled, or its port is taken): see GATEHOUSE_CONSOLE_PORT",
        "auth server": addresses.issuer,
        "guarded API": addresses.guarded_api,
        "bound API": f"{taken} GATEHOUSE_BOUND_API_PORT",
        "AWS (moto)": f"{addresses.aws_url} (access key in {access_key_file(addresses.aws_port)})",
        "mutual TLS": f"{taken} GATEHOUSE_MTLS_PORT",
    }
    if addresses.console:
        services["console"] = f"{addresses.console_url} (open it in a browser)"
    if addresses.bound_api:
        behind_tls = f", {addresses.mtls_bound_api}" if addresses.mutual_tls else ""
        purpose = "(a second guarded API, for key-bound tokens: see docs/tokens.md)"
        services["bound API"] = f"{addresses.bound_api_url}{behind_tls}{below}{purpose}"
    if addresses.mutual_tls:
        files = "(certificates in .gatehouse/tls; see docs/client-authentication.md)"
        services["mutual TLS"] = f"{addresses.mtls_auth_server} and {addresses.mtls_guarded_api}{below}{files}"
    if stack_url:
        services["stack"] = stack_url
    listed = "\n".join(f"  {name:<12} {address}" for name, address in services.items())
    return f"""
Everything is up. Press Ctrl-C to stop it. A line for each request follows; the functions' logs
(JSON) are in {logs_of(addresses).relative_to(ROOT)}.
All data is in memory and lost at the end. To have your clients in the next run:
  .venv/bin/gatehouse --local backup FILE    and then    .venv/bin/gatehouse --local restore FILE
{listed}

Try in another terminal:
  TOKEN=$(curl -s {addresses.issuer}/oauth2/token \\
      -u service-client-jwt:service-client-jwt-secret \\
      -d grant_type=client_credentials -d scope=country.read | cut -d '"' -f 4)
  curl -i {addresses.guarded_api}/country/code/nz -H "Authorization: Bearer $TOKEN"
  curl -i '{addresses.guarded_api}/country?limit=3' -H "Authorization: Bearer $TOKEN"
"""


def warn_of_network(host: str) -> None:
    """Warn if servers bind an address that other machines can reach."""
    with contextlib.suppress(ValueError):
        if not ipaddress.ip_address(host).is_loopback:
            print(f"Note: on {host}, everyone who reaches this machine may use the demo clients.")


def is_abandoned(parent: int) -> bool:
    """Return whether make or the terminal has ended; not every end sends a signal."""
    if "MAKELEVEL" in os.environ and os.getppid() != parent:
        return True
    output = select.poll()
    output.register(sys.stdout.fileno(), select.POLLHUP)
    return bool(output.poll(0))
