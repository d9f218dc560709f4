"""The issuer is the configured one, whatever host a request names."""

import json
from typing import Any

import jwt

from functions.publish_metadata import handler as publish_metadata
from tests.support.aws import ENVIRONMENT, ISSUER
from tests.support.aws_server import GRANT, AwsServer
from tests.support.proxy_events import basic, form_event, proxy_event
from tests.support.server import SECRET

LIES = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Port": "81",
    "Forwarded": "host=evil.example;proto=http",
    "X-Original-URL": "https://evil.example/",
}
CONTEXT = {"domainName": "evil.example", "stage": "evil", "path": "/evil/oauth2/token"}
SIGNED = {"Accept": "application/token-introspection+jwt"}


def _with_false_context(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "requestContext": {**event["requestContext"], **CONTEXT}}


def _issuer(token: str) -> object:
    return jwt.decode(token, options={"verify_signature": False})["iss"]


def test_tokens_and_signed_responses_have_the_issuer(server: AwsServer) -> None:
    headers = {**basic("service", SECRET), **LIES}
    request = form_event("/oauth2/token", GRANT, headers=headers)
    token = json.loads(server.token_endpoint(_with_false_context(request))["body"])["access_token"]
    assert _issuer(token) == ISSUER
    request = form_event("/oauth2/introspect", {"token": token}, headers={**headers, **SIGNED})
    assert _issuer(server.introspection_endpoint(_with_false_context(request))["body"]) == ISSUER


def test_metadata_addresses_are_below_the_issuer() -> None:
    publish = publish_metadata.build(publish_metadata.Settings.from_env(ENVIRONMENT), emit=lambda _: None)
    request = proxy_event("GET", "/.well-known/oauth-authorization-server", headers=LIES)
    answer = publish(_with_false_context(request))
    expected = publish(proxy_event("GET", "/.well-known/oauth-authorization-server"))
    assert answer == expected
    assert "evil" not in json.dumps(answer)
    assert json.loads(answer["body"])["issuer"] == ISSUER
