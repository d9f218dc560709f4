"""The laptop's AWS admits only processes of its user, and no web pages."""

import json
import shutil
import subprocess

import pytest

from infra.local_stack import access_key_file, read_access_key, secret_name
from tests.support.answers_server import Reply, answers_server
from tests.support.browser import browser, chromium
from tests.support.laptop import Laptop, aws_client

READ_SECRET = {"X-Amz-Target": "secretsmanager.GetSecretValue", "Content-Type": "application/x-amz-json-1.1"}


def signed_header(laptop: Laptop) -> str:
    key = read_access_key(laptop.addresses.aws_port)
    scope = f"{key}/20260101/us-east-1/secretsmanager/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"


def a_secret(laptop: Laptop) -> str:
    secrets = aws_client(laptop.addresses.aws_port, "secretsmanager")
    found = secrets.get_secret_value(SecretId=secret_name("SigningKeysSecret"))
    return str(found["SecretString"])


@pytest.mark.skipif(chromium() is None, reason="No Chromium is installed here.")
def test_page_of_another_origin_has_no_access(laptop: Laptop) -> None:
    aws, before = laptop.addresses.aws_url, a_secret(laptop)
    body = json.dumps({"SecretId": secret_name("SigningKeysSecret")})
    simple = [f"{aws}/moto-api/reset", f"{aws}/moto-api/data.json", f"{aws}/"]
    fetch = """([url, options]) => fetch(url, options).then(
        async (answer) => `${answer.type} ${answer.status} ${await answer.text()}`,
        (error) => `failed ${error.message}`)"""
    with answers_server() as another_origin, browser() as started:
        html = {"Content-Type": "text/html"}
        another_origin.answers["GET /"] = Reply(200, "<!doctype html><title>another page</title>", html)
        page = started.new_page()
        page.goto(another_origin.url)
        for headers in (READ_SECRET, READ_SECRET | {"Authorization": signed_header(laptop)}):
            options = {"method": "POST", "headers": headers, "body": body}
            assert page.evaluate(fetch, [f"{aws}/", options]) == "failed Failed to fetch"
        for target in simple:
            assert page.evaluate(fetch, [target, {"method": "POST"}]) == "failed Failed to fetch"
            unread = page.evaluate(fetch, [target, {"method": "POST", "mode": "no-cors"}])
            assert unread == "opaque 0 "
        # A browser follows a link without an Origin header.
        with page.expect_response(f"{aws}/moto-api/data.json") as followed:
            page.evaluate("url => { location.href = url }", f"{aws}/moto-api/data.json")
        assert followed.value.status == 403
    assert a_secret(laptop) == before


@pytest.mark.skipif(shutil.which("curl") is None, reason="No curl is installed here.")
def test_curl_needs_the_access_key(laptop: Laptop) -> None:
    body = json.dumps({"SecretId": secret_name("SigningKeysSecret")})

    def curl(*options: str, path: str = "/") -> tuple[str, str]:
        headers = [f"-H{name}: {value}" for name, value in READ_SECRET.items()]
        url = f"{laptop.addresses.aws_url}{path}"
        command = ["curl", "-s", "-i", *headers, *options, "-d", body, url]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return answer.split(" ")[1], answer

    key = f"-HAuthorization: {signed_header(laptop)}"
    status, answer = curl(key)
    assert status == "200"
    assert "PRIVATE KEY" in answer
    assert "access-control" not in answer.lower()
    for refused in (
        (),
        ("-HAuthorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/kms/aws4_request",),
        (key, "-HOrigin: http://localhost:3000"),
        (key, "-HSec-Fetch-Site: same-site"),
        (key, f"-HHost: attacker.example:{laptop.addresses.aws_port}"),
    ):
        status, answer = curl(*refused)
        assert status == "403"
        assert "PRIVATE KEY" not in answer
    for path in ("/moto-api/reset", "/moto-api/data.json", "//moto-api/reset"):
        assert curl(key, path=path)[0] == "403"


def test_access_key_file_is_private(laptop: Laptop) -> None:
    file = access_key_file(laptop.addresses.aws_port)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert str(file) in laptop.output
