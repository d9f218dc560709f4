"""Cold start of each artifact: `python -m tests.artifacts.cold_start`.

Each artifact is built for this machine and started several times under AWS's runtime client; the
least processor time counts, because everything else that runs here only adds to it.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moto.server import ThreadedMotoServer

from local.emulated_aws import TEMPLATE, names, provision
from local.gateway.template import Template
from tests.support.artifacts import host, make
from tests.support.lambda_runtime import REGION, LambdaProcess, make_runtime, started
from tests.support.proxy_events import basic, proxy_event, token_event

ROUNDS: Final = 7
EVENTS: Final[Mapping[str, Any]] = {
    "IssueToken": token_event(
        {"grant_type": "client_credentials"}, headers=basic("service-client-jwt", "service-client-jwt-secret")
    ),
    "PublishJwks": proxy_event("GET", "/oauth2/jwks"),
    "Authorizer": None,  # its first response depends on the issuer's key set
}


def _processor_seconds(function: LambdaProcess) -> float:
    """Return what a process has used: user and system time in proc(5), in ticks."""
    fields = Path(f"/proc/{function.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(artifact: Path, runtime: Path, template: Template) -> tuple[float, float]:
    """Return seconds until it is ready for a first event, and for answering that."""
    declared = template.function(artifact.name, names(template))
    environ = {**declared.environment, "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"]}
    event = EVENTS[artifact.name]
    found = []
    for _ in range(ROUNDS):
        with started(artifact, declared.handler, runtime, environ) as function:
            ready = _processor_seconds(function)
            if event:
                outcome = function.invoke(event)
                assert outcome.body["statusCode"] == 200, outcome
            found.append((ready, _processor_seconds(function) - ready))
    return min(ready for ready, _ in found), min(first for _, first in found)


def main() -> None:
    """Print a line for each artifact."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    name, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{name}:{port}",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
    }
    template = Template.read(TEMPLATE)
    provision(template)
    with tempfile.TemporaryDirectory() as folder:
        runtime = make_runtime(Path(folder) / "runtime")
        for function in EVENTS:
            make(function, Path(folder) / function, host())
            ready, first = _measure(Path(folder) / function, runtime, template)
            sys.stdout.write(f"{function}: {ready:.2f} s until ready, {first:.2f} s to answer\n")
    server.stop()


if __name__ == "__main__":
    main()
