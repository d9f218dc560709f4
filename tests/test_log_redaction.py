"""The search of all log lines for credentials finds those that are there."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.credential_search import SHAPES, shape_in, used_in
from tests.support.proxy_events import basic, token_event

ROOT = Path(__file__).resolve().parent.parent
SECRET = "planted-secret-of-a-client"
PLANTED = f"""
from functions.shared.web.endpoint import Endpoint
from functions.shared.web.endpoint import json_response
from tests.support import log_record
from tests.support.proxy_events import basic, token_event

EVENT = token_event({{}}, headers=basic("a", "{SECRET}"))


def log(event, fact):
    def respond(request, entry):
        entry.note(fact=fact)
        return json_response(200, {{}})

    Endpoint("thing", respond, lambda line: None)(event)


def test_nothing():
    log(EVENT, "nothing")


def test_its_own_secret():
    log(EVENT, "before {SECRET} after")


def test_a_token():
    log(token_event({{}}), "eyJhbGciOiJub25lIn0.e30.")


def test_a_secret_of_another_request():
    log(token_event({{}}), "{SECRET}")


def test_another_process():
    log_record.keep("another", ["fine\\n", "tried service-client-jwt-secret\\n"])
"""


def _run(folder: Path, *selected: str) -> subprocess.CompletedProcess[str]:
    test = folder / "test_planted.py"
    test.write_text(dedent(PLANTED), encoding="utf-8")
    options = ["-c", os.devnull, "--rootdir", str(folder), "--import-mode=importlib", "-q"]
    unused = ("cacheprovider", "xdist", "schemathesis", "anyio", "hypothesispytest")  # slow to import
    plugins = ["-p", "tests.support.log_redaction", *(word for name in unused for word in ("-p", f"no:{name}"))]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *plugins, str(test), *selected],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_logged_credentials_fail_test_and_run(tmp_path: Path) -> None:
    done = _run(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "2 failed, 3 passed" in done.stdout  # those that a line itself gives away
    found = done.stdout.partition("credentials in logs")[2]
    assert found.count("a credential that was used in lines-") == 2
    assert found.count("a JWT in lines-") == 1
    assert found.count("a credential that was used in another-") == 1
    assert "log redaction: 6 lines searched" in done.stdout


def test_credential_of_another_process_fails_the_run(tmp_path: Path) -> None:
    done = _run(tmp_path, "-k", "another_process")
    assert done.returncode == 1, done.stdout
    assert "1 passed" in done.stdout


LOOKS = {
    "a JWT": "got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln",
    "a secret or token of ours": f"gh_at_{'x' * 43}",
    "a private JWK": '{"message": "{\\"kty\\": \\"EC\\", \\"d\\": \\"' + "A" * 43 + '\\"}"}',
    "a private key": "-----BEGIN PRIVATE KEY-----",
    "an Authorization or DPoP header": "Authorization: Basic c2VydmljZS1jbGllbnQ6c2VjcmV0",
    "a form": "POST grant_type=client_credentials&client_secret=abcdef",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_is_recognised(shape: str) -> None:
    assert shape_in(LOOKS[shape]) == shape


def test_an_ordinary_line_has_no_shape_of_a_credential() -> None:
    line = '{"reason": "The Basic credentials are malformed.", "kid": "sdTzIxwV11Ha1ok0aMeasv3w"}'
    assert shape_in(line) is None


def test_request_credentials_are_sent_and_returned_ones() -> None:
    event = token_event(
        {"client_assertion": "an-assertion", "scope": "country.read", "subject_token": "short"},
        headers={**basic("a", "it's a secret"), "DPoP": "the-proof"},
    )
    answer = {"statusCode": 200, "body": '{"access_token": "the-token"}'}
    basic_value = basic("a", "it's a secret")["Authorization"].partition(" ")[2]
    found = used_in(event, answer)
    assert found == {"an-assertion", "it's a secret", basic_value, "the-proof", "the-token"}
