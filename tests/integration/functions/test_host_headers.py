"""The issuer is configuration; Host headers are ignored."""

import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from functions.introspect_token import handler as introspect_token
from functions.introspect_token.handler import Settings as IntrospectTokenSettings
from functions.issue_token import handler as issue_token
from functions.issue_token.handler import Settings as IssueTokenSettings
from functions.publish_metadata import handler as publish_metadata
from functions.publish_metadata.handler import Settings as PublishMetadataSettings
from functions.rotate_keys import handler as rotate_keys
from functions.rotate_keys.settings import Settings as RotateKeysSettings
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.secret_store import SecretsManagerStore
from tests.support.aws import CLIENTS_TABLE, ENVIRONMENT, ISSUER
from tests.support.memory_stores import ManualClock
from tests.support.proxy_events import basic, form_event, proxy_event
from tests.support.server import SECRET, client, generate

Endpoints = dict[str, Callable[[dict[str, Any]], Any]]


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


@pytest.fixture
def endpoints(aws: AwsClients, clock: ManualClock) -> Endpoints:
    store = SecretsManagerStore(aws.secrets_manager)
    settings = RotateKeysSettings.from_env(ENVIRONMENT)
    rotate_keys.build(settings, clock=clock, secrets=store, generate=generate).run()
    DynamoDbClients(aws.dynamodb, CLIENTS_TABLE).put(client("service"))
    parts: Any = {"aws": aws, "clock": clock, "emit": lambda _: None}
    return {
        "token": issue_token.build(IssueTokenSettings.from_env(ENVIRONMENT), **parts),
        "introspect": introspect_token.build(
            IntrospectTokenSettings.from_env(ENVIRONMENT), **parts
        ),
        "metadata": publish_metadata.build(
            PublishMetadataSettings.from_env(ENVIRONMENT), emit=parts["emit"]
        ),
    }


def _lying(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "requestContext": {**event["requestContext"], **CONTEXT}}


def _issuer(token: str) -> object:
    return jwt.decode(token, options={"verify_signature": False})["iss"]


def test_tokens_and_signed_responses_have_the_issuer(endpoints: Endpoints) -> None:
    headers = {**basic("service", SECRET), **LIES}
    asked = form_event("/oauth2/token", {"grant_type": "client_credentials"}, headers=headers)
    token = json.loads(endpoints["token"](_lying(asked))["body"])["access_token"]
    assert _issuer(token) == ISSUER
    asked = form_event("/oauth2/introspect", {"token": token}, headers={**headers, **SIGNED})
    assert _issuer(endpoints["introspect"](_lying(asked))["body"]) == ISSUER


def test_metadata_addresses_are_below_the_issuer(endpoints: Endpoints) -> None:
    asked = proxy_event("GET", "/.well-known/oauth-authorization-server", headers=LIES)
    answer = endpoints["metadata"](_lying(asked))
    told = endpoints["metadata"](proxy_event("GET", "/.well-known/oauth-authorization-server"))
    assert answer == told
    assert "evil" not in json.dumps(answer)
    assert json.loads(answer["body"])["issuer"] == ISSUER
