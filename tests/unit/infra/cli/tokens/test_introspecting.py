"""`gatehouse token introspect` and `token revoke`: requests, output and exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.support.answers_server import AnswersServer, Said, answers_server
from tests.support.cli import CommandLine, deploy
from tests.support.memory_stores import ManualClock
from tests.support.server import NOW

STAGE = "/ms-auth-server"
INTROSPECT = f"POST {STAGE}/oauth2/introspect"
REVOKE = f"POST {STAGE}/oauth2/revoke"
SECRET = ("--secret-file", "secret")


@pytest.fixture
def server(account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnswersServer]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("s&cret\n")
    (tmp_path / "token").write_text("the-token\n")
    with answers_server() as server:
        deploy(issuer=server.url + STAGE)
        yield server


@pytest.fixture
def gatehouse() -> CommandLine:
    return CommandLine(ManualClock(NOW))


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_introspect_prints_the_response(server: AnswersServer, gatehouse: CommandLine, source: str) -> None:
    response = {"active": True, "scope": "a", "client_id": "shop"}
    server.answers[INTROSPECT] = Said(200, json.dumps(response))
    file = ("token",) if source == "file" else ()
    answer = "" if source == "file" else "the-token\n"
    seen = gatehouse("token", "introspect", "billing", *file, *SECRET, answer=answer)
    assert (seen.code, seen.json) == (0, response)
    (asked,) = server.asked
    assert asked.headers["Authorization"].startswith("Basic ")
    assert parse_qs(asked.body) == {"token": ["the-token"]}


def test_introspect_exits_with_1_if_inactive(server: AnswersServer, gatehouse: CommandLine) -> None:
    server.answers[INTROSPECT] = Said(200, '{"active": false}')
    seen = gatehouse("token", "introspect", "billing", "token", *SECRET)
    assert (seen.code, seen.json) == (1, {"active": False})
    assert "not visible to billing" in seen.stderr


def test_revoke_sends_the_token_as_its_client(server: AnswersServer, gatehouse: CommandLine) -> None:
    server.answers[REVOKE] = Said(200, "{}")
    method = ("--method", "client_secret_post")
    revoked = gatehouse("token", "revoke", "billing", "token", *method, *SECRET, "--json")
    assert (revoked.code, revoked.json) == (0, {"client_id": "billing", "revoked": True})
    (asked,) = server.asked
    assert parse_qs(asked.body) == {"client_id": ["billing"], "client_secret": ["s&cret"], "token": ["the-token"]}
    shown = gatehouse("token", "revoke", "billing", "token", *SECRET)
    assert (shown.stdout, "CheckRevokedTokens" in shown.stderr) == ("Token revoked.\n", True)


@pytest.mark.parametrize("command", ["introspect", "revoke"])
@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        (Said(401, '{"error":"invalid_client"}'), 1, "endpoint returned 401 invalid_client."),
        (Said(503, '{"error":"temporarily_unavailable"}'), 4, "returned 503"),
    ],
)
def test_an_error_response_is_reported(
    server: AnswersServer, gatehouse: CommandLine, command: str, said: Said, code: int, message: str
) -> None:
    server.answers[INTROSPECT] = server.answers[REVOKE] = said
    refused = gatehouse("token", command, "billing", "token", *SECRET)
    assert (refused.code, refused.stdout) == (code, "")
    assert message in refused.stderr


def test_response_without_active_is_an_error(server: AnswersServer, gatehouse: CommandLine) -> None:
    server.answers[INTROSPECT] = Said(200, '{"active": "true"}')
    refused = gatehouse("token", "introspect", "billing", "token", *SECRET)
    assert (refused.code, "is not an OAuth response" in refused.stderr) == (4, True)


@pytest.mark.parametrize("command", ["introspect", "revoke"])
def test_token_and_secret_cannot_share_stdin(server: AnswersServer, gatehouse: CommandLine, command: str) -> None:
    refused = gatehouse("token", command, "billing", "--secret-file", "-", answer="x\n")
    assert (refused.code, "Only one value can be read from stdin" in refused.stderr) == (2, True)
    assert server.asked == []


def test_certificate_uses_the_mutual_tls_alias(server: AnswersServer, gatehouse: CommandLine) -> None:
    metadata = f"GET {STAGE}/.well-known/oauth-authorization-server"
    alias = {"mtls_endpoint_aliases": {"introspection_endpoint": "https://127.0.0.1:9/i"}}
    server.answers[metadata] = Said(200, json.dumps(alias))
    options = ("--certificate", "secret")
    refused = gatehouse("token", "introspect", "billing", "token", *options)
    assert (refused.code, "certificate or key cannot be used" in refused.stderr) == (2, True)
    refused = gatehouse("token", "revoke", "billing", "token", *options)
    assert (refused.code, "MtlsDomainName" in refused.stderr) == (1, True)
