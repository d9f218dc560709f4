"""A second guarded API on the laptop, with other parameters of the template."""

import contextlib
import http.client
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.cloudformation import load
from local.addresses import MUTUAL_TLS
from tests.support.chalice import chalice_local
from tests.support.laptop import ROOT, Laptop, free_environment

APP = """
from pathlib import Path
from local.chalice_app import GatewayApp
app = GatewayApp("guarded_api", template=Path(__file__).with_name("template.yaml"))
"""


class GuardedApi:
    """A second guarded API on the laptop, with its own parameters and log."""

    def __init__(self, port: int, mtls_port: int, log: Path) -> None:
        self.port = port
        self.mtls_port = mtls_port
        self.url = f"http://localhost:{port}/ms-system"
        self._log = log

    def get(self, path: str, headers: Mapping[str, str]) -> tuple[int, Any, str | None]:
        """Return the status, the body and the challenge."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=20)
        connection.request("GET", f"/ms-system{path}", headers=dict(headers))
        response = connection.getresponse()
        body = json.loads(response.read())
        connection.close()
        return response.status, body, response.getheader("WWW-Authenticate")

    def decisions(self) -> list[dict[str, Any]]:
        """Return what the authorizer logged: one line for each of its invocations."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"decision"')]


@contextlib.contextmanager
def guarded_api(
    laptop: Laptop, folder: Path, parameters: Mapping[str, object]
) -> Iterator[GuardedApi]:
    """Run one that trusts the laptop's authorization server, behind mutual TLS too."""
    environ = free_environment()
    log = folder / "log"
    api = GuardedApi(
        int(environ["GATEHOUSE_API_PORT"]), int(environ["GATEHOUSE_MTLS_API_PORT"]), log
    )
    document = load(ROOT / "template.yaml")
    for name, value in {"ResourceUrl": api.url, **parameters}.items():
        document["Parameters"][name]["Default"] = value
    (folder / "template.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (folder / "app.py").write_text(APP, encoding="utf-8")
    (folder / ".chalice").mkdir()
    config = (ROOT / "local" / "guarded_api" / ".chalice" / "config.json").read_bytes()
    (folder / ".chalice" / "config.json").write_bytes(config)
    environ |= {
        "GATEHOUSE_AUTH_PORT": str(laptop.addresses.auth_port),
        "GATEHOUSE_AWS_PORT": str(laptop.addresses.aws_port),
        MUTUAL_TLS: "true",
        "PYTHONPATH": os.pathsep.join((str(ROOT), environ.get("PYTHONPATH", ""))),
    }
    with (
        log.open("w", encoding="utf-8") as output,
        chalice_local(folder, api.port, environ, "--no-autoreload", output=output),
    ):
        yield api
