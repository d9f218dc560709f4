"""A walkthrough that fails states what was expected and what came."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from infra.build import ROOT
from local.walkthrough import Walkthrough
from tests.support.answers_server import Reply, answers_server


@dataclass(frozen=True)
class Places:
    issuer: str
    guarded_api: str = ""


REQUESTS = ("GET /country/code/AUS", "GET /oauth2/jwks", "POST /oauth2/introspect", "POST /oauth2/token")


@contextmanager
def answering(status: int, body: str) -> Iterator[Places]:
    with answers_server() as server:
        server.answers.update(dict.fromkeys(REQUESTS, Reply(status, body)))
        yield Places(server.url)


@pytest.mark.parametrize(
    ("status", "body", "got"),
    [
        (401, '{"error": "invalid_client"}', "401 invalid_client"),
        (500, '{"message": "Internal server error"}', "500 Internal server error"),
        (429, "[]", "429 Too Many Requests"),
    ],
)
def test_failed_status_has_its_error(status: int, body: str, got: str) -> None:
    lines: list[str] = []
    with answering(status, body) as places:
        walkthrough = Walkthrough(places, write=lines.append)
        walkthrough.run()
    assert f"   ✗ FAILED 200: expected 200, got {got}" in lines
    assert walkthrough.failures[0] == f"step 1: 200: expected 200, got {got}"


def test_failed_values_and_missing_response() -> None:
    body = '{"access_token": "a.b.c", "scope": "x", "token_type": "MAC", "expires_in": 1}'
    lines: list[str] = []
    with answering(200, body) as places:
        Walkthrough(places, write=lines.append).run()
    assert "   ✗ FAILED token_type is Bearer: expected Bearer, got MAC" in lines
    assert "   ✗ FAILED expires_in is 14399: expected 14399, got 1" in lines
    assert "   ✗ FAILED Cache-Control: no-store: expected no-store, got null" in lines
    walkthrough = Walkthrough(places, write=lines.append)
    walkthrough.run()
    assert "ConnectionRefusedError" in walkthrough.failures[0]


def test_readme_has_the_printed_steps() -> None:
    written: list[str] = []
    with answering(500, "{}") as places:
        Walkthrough(Places(places.issuer, places.issuer), write=written.append).run()
    printed = [line.strip().split(" (RFC")[0] for line in written if re.match(r"\n\d+\. ", line)]
    page = (ROOT / "README.md").read_text()
    assert [
        f"{number}. {title}" for number, title in re.findall(r"^\*\*(\d+)\. (.*?)\.\*\*", page, re.MULTILINE)
    ] == printed
    assert len(printed) == 9
    assert "shows these nine steps" in page
