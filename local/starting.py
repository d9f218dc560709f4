"""Start moto, both APIs and the console, each a process of its own."""

from __future__ import annotations

import http.client
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local.addresses import BOUND_API, MUTUAL_TLS
from local.aws_account import use_local_aws
from local.certificates import LaptopCertificates
from local.console.backstage import BACKSTAGE
from local.readiness import status_of

if TYPE_CHECKING:
    from local.addresses import Addresses
    from local.supervisor import Supervisor

__all__ = ["ROOT", "logs_of", "start_everything"]

ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 60.0


def logs_of(addresses: Addresses) -> Path:
    """Return the folder of a run's logs: runs on other ports have others."""
    return ROOT / ".gatehouse" / "logs" / str(addresses.auth_port)


def start_everything(
    supervisor: Supervisor, addresses: Addresses, backstage: str | None = None
) -> None:
    """Start moto and the APIs, and return when each of them answers.

    With a folder for `backstage` the console is started too, which looks into them through it.
    """
    env = dict(os.environ)
    use_local_aws(env, addresses)
    # With an endpoint of the user's, a child does not wait until moto is provisioned.
    del env["AWS_ENDPOINT_URL"]
    if backstage is not None:
        env[BACKSTAGE] = backstage
    if addresses.mutual_tls:
        LaptopCertificates.ensure()
        env[MUTUAL_TLS] = "1"
    chalice = str(Path(sys.executable).parent / "chalice")
    print(f"Starting AWS (moto) on {addresses.aws_url} …", flush=True)
    supervisor.start("aws", [sys.executable, "-m", "local.aws"], cwd=ROOT, env=env)
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

    wait_for("The auth server", f"{addresses.issuer}/oauth2/jwks", http.client.OK)
    wait_for("The guarded API", f"{addresses.guarded_api}/country", http.client.UNAUTHORIZED)
    if addresses.bound_api:
        wait_for("The bound API", f"{addresses.bound_api_url}/country", http.client.UNAUTHORIZED)
        env[BOUND_API] = "1"
    if backstage is not None:
        # Last, because its page works only when everything else does.
        supervisor.start("console", [sys.executable, "-m", "local.console"], cwd=ROOT, env=env)
        wait_for("The console", f"{addresses.console_url}/", http.client.OK)
