"""The console's HTTP API: origin checks, validation, and its curl commands."""

import http.client
import json
import subprocess
from typing import Any

import pytest

from local.console.clients import DEMO_CLIENTS
from tests.support.laptop import ROOT, Laptop

JSON = {"Content-Type": "application/json"}


def request(
    laptop: Laptop, path: str, wanted: object = None, *, method: str = "POST", **changes: str | None
) -> tuple[int, dict[str, str], bytes]:
    """Send a request of the page with changed headers; None removes one."""
    port = laptop.addresses.console_port
    headers = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}", **JSON}
    for name, value in changes.items():
        headers.pop(name.title().replace("_", "-"), None)
        if value is not None:
            headers[name.title().replace("_", "-")] = value
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = wanted if isinstance(wanted, bytes) else json.dumps(wanted or {})
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    answer = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return answer


def done(laptop: Laptop, task: str, **wanted: object) -> dict[str, Any]:
    status, _, body = request(laptop, f"/tasks/{task}", wanted)
    assert status == 200, body
    answer: dict[str, Any] = json.loads(body)
    return answer


def curl_lines(answer: dict[str, Any]) -> list[str]:
    details = [detail for step in answer["steps"] for detail in step["details"]]
    return [detail["request"]["curl"] for detail in details if detail["kind"] == "http"]


def run(line: str) -> str:
    command = ["bash", "-euo", "pipefail", "-c", line.replace("curl -i", "curl -s -i", 1)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return result.stdout


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"host": "console.attacker.example"}, 421),
        ({"host": "localhost:1"}, 421),
        ({"origin": None}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://attacker.example"}, 403),
        ({"content_type": "text/plain"}, 405),
        ({"content_type": None}, 405),
        ({"method": "GET"}, 405),
        ({"wanted": b"{"}, 400),
        ({"wanted": b"[]"}, 400),
        ({"wanted": b'{"client": "\\ud800"}'}, 400),
        ({"wanted": b'{"scopes": [{"\\udfff": 1}]}'}, 400),
        ({"wanted": b'{"client": "\xed\xa0\x80"}'}, 400),
    ],
)
def test_only_the_page_may_run_tasks(laptop: Laptop, changes: dict[str, Any], expected: int) -> None:
    status, headers, _ = request(laptop, "/tasks/rotate", **changes)
    assert status == expected
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    ("task", "wanted"),
    [
        ("token", {"client": "authorizer", "scopes": []}),
        ("token", {"client": "unknown", "scopes": []}),
        ("token", {"client": "service-client-jwt", "scopes": "country.read"}),
        ("token", {"client": "service-client-jwt", "scopes": [1]}),
        ("token", {"client": 7, "scopes": []}),
        ("call", {"path": "/elsewhere", "token": "x", "scheme": "Bearer"}),
        ("call", {"path": "/country/code/AUS", "token": "x", "scheme": "Basic"}),
        ("call", {"path": "/country/code/AUS", "token": "x\r\nHost: y", "scheme": "Bearer"}),
        ("expire", {"token": "x"}),
        ("expire", {"token": "a.b.c"}),
        ("expire", {}),
        ("tamper", {"token": "a.b.c"}),
        ("take_down", {"with": "everything"}),
    ],
)
def test_invalid_task_is_one_sentence(laptop: Laptop, task: str, wanted: object) -> None:
    status, _, body = request(laptop, f"/tasks/{task}", wanted)
    assert status == 400
    assert json.loads(body)["problem"].endswith(".")


@pytest.mark.parametrize("path", ["/", "/console.js", "/tasks/setting", "/nothing", "/../web.py"])
def test_every_response_has_security_headers(laptop: Laptop, path: str) -> None:
    _, headers, _ = request(laptop, path, method="GET")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/nothing", "/../web.py", "/page/console.js", "//console.js"])
def test_only_files_of_the_page_are_served(laptop: Laptop, path: str) -> None:
    assert request(laptop, path, method="GET")[0] == 404
    assert request(laptop, "/console.js")[0] == 405


@pytest.mark.parametrize("client", DEMO_CLIENTS)
def test_curl_commands_of_every_client(laptop: Laptop, client: str) -> None:
    got = done(laptop, "token", client=client, scopes=["country.read"])
    assert run(curl_lines(got)[-1]).startswith("HTTP/1.1 200 OK")
    called = done(laptop, "call", path="/country?limit=3", token=got["token"], scheme=got["scheme"])
    assert run(curl_lines(called)[-1]).startswith(f"HTTP/1.1 {called['steps'][-1]['title']}")


@pytest.mark.parametrize("mishap", ["expire", "tamper"])
def test_invalid_opaque_token(laptop: Laptop, mishap: str) -> None:
    got = done(laptop, "token", client="service-client-opaque", scopes=["country.read"])
    broken = done(laptop, mishap, token=got["token"])["token"]
    called = done(laptop, "call", path="/country/code/AUS", token=broken, scheme="Bearer")
    assert [step["chip"] for step in called["steps"][2:]] == ["200", "token_inactive", "401"]


def test_additional_claims_of_the_client_are_shown(laptop: Laptop) -> None:
    got = done(laptop, "token", client="service-client-api", scopes=["country.read"])
    (shown,) = [detail for step in got["steps"] for detail in step["details"] if detail["kind"] == "token"]
    assert shown["claims"]["tenant"] == "blue"
    called = done(laptop, "call", path="/country/code/XX", token=got["token"], scheme="Bearer")
    assert called["steps"][-1]["chip"] == "404"


def test_scope_that_is_not_allowed(laptop: Laptop) -> None:
    got = done(laptop, "token", client="service-client-jwt", scopes=["admin"])
    assert got["token"] is None
    assert got["steps"][-1]["sentence"].startswith("invalid_scope: ")


def test_shown_event_contains_no_token(laptop: Laptop) -> None:
    got = done(laptop, "token", client="service-client-jwt", scopes=["country.read"])
    called = done(laptop, "call", path="/country/code/AUS", token=got["token"], scheme="Bearer")
    event = next(step for step in called["steps"] if step["title"] == "Authorize the request")
    assert "Bearer eyJhbGciOiJ…" in json.dumps(event, ensure_ascii=False)
    assert got["token"] not in json.dumps(event)
