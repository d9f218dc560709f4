"""A second guarded API beside the laptop's own, with other parameters of the template."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import yaml

from local.gateway.cloudformation import load
from tests.support.chalice import chalice_local
from tests.support.laptop import ROOT, free_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.laptop import Laptop

APP = """
from pathlib import Path
from local.chalice_shell import GatewayApp
app = GatewayApp("guarded_api", template=Path(__file__).with_name("template.yaml"))
"""


@contextlib.contextmanager
def guarded_api(laptop: Laptop, folder: Path, parameters: Mapping[str, object]) -> Iterator[str]:
    """Run one that trusts the laptop's authorization server; yields its address."""
    environ = free_environment()
    port = int(environ["GATEHOUSE_API_PORT"])
    url = f"http://localhost:{port}/ms-system"
    document = load(ROOT / "template.yaml")
    for name, value in {"ResourceUrl": url, **parameters}.items():
        document["Parameters"][name]["Default"] = value
    (folder / "template.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (folder / "app.py").write_text(APP, encoding="utf-8")
    (folder / ".chalice").mkdir()
    config = (ROOT / "local" / "guarded_api" / ".chalice" / "config.json").read_bytes()
    (folder / ".chalice" / "config.json").write_bytes(config)
    environ |= {
        "GATEHOUSE_AUTH_PORT": str(laptop.addresses.auth_port),
        "GATEHOUSE_AWS_PORT": str(laptop.addresses.aws_port),
        "PYTHONPATH": os.pathsep.join((str(ROOT), environ.get("PYTHONPATH", ""))),
    }
    with chalice_local(folder, port, environ, "--no-autoreload"):
        yield url
