"""The Chalice example under `chalice local` and in its packaged API, which the laptop's gateway emulates."""

import json
import re
import shutil
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from chalice.test import Client

from local.addresses import Addresses
from local.external_stack import ExternalStack
from local.gateway.core import Gateway
from local.gateway.lambda_runtime import FunctionError
from local.gateway.model import Request
from tests.support.answers_server import answers_server
from tests.support.http_issuer import HttpIssuer
from tests.support.wheel import ROOT, python_with_wheel, unpacked_wheel

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "docs" / "examples" / "library" / "chalice"
PACKAGE = """
import json, sys
sys.path.insert(0, "")
import app
json.dump(app.guard.template(), open("responses.json", "w"))
from chalice.cli import main
sys.argv = ["chalice", "package", "--merge-template", "responses.json", "out"]
main()
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[HttpIssuer]:
    with answers_server() as server:
        yield HttpIssuer(server)


@pytest.fixture(scope="module")
def template(issuer: HttpIssuer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, packaged by chalice."""
    project = tmp_path_factory.mktemp("chalice") / "orders"
    shutil.copytree(EXAMPLE, project)
    packaged = python_with_wheel("-c", PACKAGE, cwd=project, ISSUER=issuer.url, AWS_DEFAULT_REGION="eu-west-1")
    assert packaged.returncode == 0, packaged.stderr
    file = project / "out" / "sam.json"
    # It converts binary bodies. The example has none, and the laptop's gateway does not support it.
    file.write_text(re.sub(r'"contentHandling": "[A-Z_]+",', "", file.read_text()))
    return file


def load_app(issuer: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the example's module, with the wheel's package."""
    monkeypatch.syspath_prepend(str(unpacked_wheel()))
    monkeypatch.setenv("ISSUER", issuer)
    spec = spec_from_file_location("chalice_example", EXAMPLE / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stage(template: Path, app: ModuleType) -> Gateway:
    """Return the packaged API, whose functions run in this process."""
    resources = json.loads(template.read_text())["Resources"]

    def invoke(function: str, event: Any) -> object:
        handler = getattr(app, resources[function]["Properties"]["Handler"].removeprefix("app."))
        try:
            return handler(event, None)
        except Exception as error:
            raise FunctionError(type(error).__name__, str(error)) from error

    return Gateway(ExternalStack(template, Addresses(), {}).api, invoke)


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, 200),
        (None, 401),
        ({"exp": 1, "iat": ..., "nbf": ...}, 401),
        ({"scope": "other"}, 403),
        ({"iss": "unavailable"}, 503),
    ],
    ids=["valid", "no token", "expired", "without the scope", "no key set"],
)
def test_stage_answers_as_chalice_local(
    claims: dict[str, Any] | None, status: int, issuer: HttpIssuer, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = issuer.url
    if claims is not None and "iss" in claims:
        url = claims["iss"] = f"{issuer.url}/without-key-set"
    app = load_app(url, monkeypatch)
    headers = {"accept": "application/json"}
    if claims is not None:
        headers["authorization"] = f"Bearer {issuer.token(**claims)}"
    with Client(app.app) as client:
        local = client.http.get("/orders", headers=headers)
    deployed = stage(template, app).handle(Request("GET", "/orders/orders", headers=tuple(headers.items())))
    assert (local.status_code, deployed.status) == (status, status)
    assert json.loads(local.body) == json.loads(deployed.body)
    for name in ("WWW-Authenticate", "Retry-After"):
        assert local.headers.get(name) == deployed.header(name)
