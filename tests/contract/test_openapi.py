"""docs/openapi.yaml is valid, matches template.yaml, and describes the running services."""

import http.client
import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from functions.issue_token.token_exchange import ACCESS_TOKEN
from functions.shared.clients.supported import JWT_BEARER
from local.demo_clients import COUNTRY_API
from local.gateway.template import Template
from tests.support.laptop import ROOT, Laptop, free_environment, running

DOCUMENT = ROOT / "docs" / "openapi.yaml"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
CLIENT = "service-client-api"
SECRET = f"{CLIENT}-secret"
SUCCESSES = {200, 204, 304}
NONE: dict[str, Any] = {"responses": {}}


def _read() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text())
    return document


def _operations(document: dict[str, Any], api: str) -> Iterator[tuple[str, str]]:
    """Every method and path of the API whose stage is named so, or that is at its host's root."""
    for path, item in document["paths"].items():
        of_stage = urlsplit(item["servers"][0]["url"]).path == f"/{api}"
        if of_stage or path.endswith(f"/{api}"):
            yield from ((method.upper(), path) for method in METHODS if method in item)


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    """A laptop edition for these tests only, because schemathesis fails to authenticate all the time."""
    with running(free_environment()) as laptop:
        laptop.wait_for_line("Everything is up")
        yield laptop


def test_the_document_is_valid() -> None:
    validate(_read())


def test_the_document_has_the_packages_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert _read()["info"]["version"] == project["version"]


EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token": "x",
    "subject_token_type": ACCESS_TOKEN,
}


@pytest.mark.parametrize(
    ("form", "is_documented"),
    [
        ({"grant_type": "client_credentials"}, True),
        ({"grant_type": "client_credentials", "requested_token_type": "x"}, True),
        ({"grant_type": "client_credentials", "subject_token": "", "actor_token": "x"}, True),
        ({"grant_type": "client_credentials", "scope": "  "}, False),
        ({"grant_type": "another"}, False),
        (EXCHANGE, True),
        (EXCHANGE | {"requested_token_type": ACCESS_TOKEN}, True),
        (EXCHANGE | {"requested_token_type": "x"}, False),
        (EXCHANGE | {"actor_token": "x"}, False),
        ({**EXCHANGE, "subject_token": ""}, False),
        ({"grant_type": EXCHANGE["grant_type"], "subject_token": "x"}, False),
        ({"grant_type": JWT_BEARER, "assertion": "x"}, True),
        ({"grant_type": JWT_BEARER}, False),
    ],
)
def test_each_grant_has_its_own_schema(form: dict[str, str], *, is_documented: bool) -> None:
    """RFC 6749, 3.2: parameters that a grant does not know are ignored."""
    schema = {"$ref": "#/components/schemas/TokenRequest", "components": _read()["components"]}
    assert OAS31Validator(schema).is_valid(form) is is_documented


@pytest.mark.parametrize(("api", "stage"), [("AuthServerApi", "ms-auth-server"), ("GuardedApi", "ms-system")])
def test_document_has_exactly_the_templates_routes(api: str, stage: str) -> None:
    declared = Template.read(ROOT / "template.yaml").api(api)
    documented = set(_operations(_read(), stage))
    routes = {(route.method, route.path) for route in declared.routes}
    paths = {path for _, path in documented}
    assert {path for _, path in routes} == paths
    # On routes with method ANY the function decides: see the next test.
    assert {route for route in routes if route[0] != "ANY"} <= documented
    if all(method != "ANY" for method, _ in routes):
        assert documented == routes


def _origin(laptop: Laptop, api: str) -> str:
    addresses = laptop.addresses
    address = {"ms-auth-server": addresses.issuer, "ms-system": addresses.guarded_api}[api]
    return address.removesuffix(f"/{api}")


def test_each_address_allows_the_documented_methods(laptop: Laptop) -> None:
    document, origin = _read(), _origin(laptop, "ms-auth-server")
    allowed: dict[str, set[str]] = {}
    for method, path in _operations(document, "ms-auth-server"):
        allowed.setdefault(path, set()).add(method)
    for path, methods in allowed.items():
        prefix = urlsplit(document["paths"][path]["servers"][0]["url"]).path
        answer = requests.patch(f"{origin}{prefix}{path}", timeout=30)
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == methods


def _token(laptop: Laptop, scope: str) -> str:
    answer = requests.post(
        f"{laptop.addresses.issuer}/oauth2/token",
        data={"grant_type": "client_credentials", "scope": scope},
        auth=(CLIENT, SECRET),
        timeout=30,
    )
    return str(answer.json()["access_token"])


def _form_examples(document: dict[str, Any], path: str) -> dict[str, Any]:
    body = document["paths"][path]["post"]["requestBody"]["content"]
    examples: dict[str, Any] = body["application/x-www-form-urlencoded"]["examples"]
    return examples


def _at(document: dict[str, Any], origin: str) -> dict[str, Any]:
    """The part of the document about one origin, with whole paths."""
    part = deepcopy(document)
    part["paths"] = {}
    for path, item in deepcopy(document["paths"]).items():
        server = item.pop("servers")[0]["url"]
        if server.startswith(origin):
            part["paths"][server.removeprefix(origin) + path] = item
    return part


def _with_real_tokens(document: dict[str, Any], laptop: Laptop) -> dict[str, Any]:
    """The document, with examples that are granted and known."""
    changed = deepcopy(document)
    for path in ("/oauth2/introspect", "/oauth2/revoke"):
        for name in ("first", "second"):
            value = {"token": _token(laptop, "country.read")}
            _form_examples(changed, path)[name] = {"value": value}
    examples = _form_examples(changed, "/oauth2/token")
    resource = {"grant_type": "client_credentials", "resource": [COUNTRY_API]}
    examples["resource"] = {"value": resource}
    unknown = {"grant_type": "client_credentials", "requested_token_type": "another grant's"}
    examples["parameters of another grant"] = {"value": unknown}
    return changed


def _drive(document: Path, folder: Path, *options: str) -> Counter[tuple[str, int]]:
    """Let schemathesis find fault; return how often each operation gave each answer."""
    report = folder / "report.ndjson"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)]
    command += ["run", str(document), "--report-ndjson-path", str(report), *options]
    if seed := os.environ.get("SCHEMATHESIS_SEED"):  # `make fuzz` tries several
        command += ["--seed", seed, "--max-examples", "200"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    answers: Counter[tuple[str, int]] = Counter()
    for line in report.read_text().splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for exchange in recorder.get("interactions", {}).values():
            operation = f"{exchange['request']['method']} {recorder['label'].split(' ')[1]}"
            answers[operation, exchange["response"]["status_code"]] += 1
    return answers


@pytest.mark.parametrize(
    ("origin", "api"), [("http://localhost:8085", "ms-auth-server"), ("http://localhost:8091", "ms-system")]
)
def test_services_answer_as_documented(laptop: Laptop, tmp_path: Path, origin: str, api: str) -> None:
    document = _at(_with_real_tokens(_read(), laptop), origin)
    written = tmp_path / "openapi.json"
    written.write_text(json.dumps(document))
    if api == "ms-system":
        # A REST API has one answer to methods that it does not know, and it is not 405.
        options = ["--exclude-checks", "unsupported_method"]
        options += ["--header", f"Authorization: Bearer {_token(laptop, 'country.read')}"]
    else:
        options = ["--auth", f"{CLIENT}:{SECRET}"]
    answers = _drive(written, tmp_path, "--url", _origin(laptop, api), *options)
    assert not [answer for answer in answers if answer[1] >= 500]
    for path, item in document["paths"].items():
        for method in METHODS:
            expected = SUCCESSES & {int(status) for status in item.get(method, NONE)["responses"]}
            reached = {status for status in expected if answers[f"{method.upper()} {path}", status]}
            assert reached == expected, "Nothing was tried in earnest."


def test_a_body_over_ten_megabytes_is_413_as_documented(laptop: Laptop) -> None:
    split = urlsplit(laptop.addresses.issuer)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=30)
    connection.putrequest("POST", f"{split.path}/oauth2/token")
    connection.putheader("Content-Length", str(10 * 1024 * 1024 + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "message" in json.loads(answer.read())
    connection.close()
