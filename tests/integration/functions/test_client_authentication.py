"""Client authentication with the real parts, on moto's tables."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from functions.introspect_token.handler import Settings as IntrospectTokenSettings
from functions.introspect_token.handler import build as build_introspect_token
from functions.issue_token.handler import Settings as IssueTokenSettings
from functions.issue_token.handler import build as build_issue_token
from functions.rotate_keys.handler import build as build_rotate_keys
from functions.rotate_keys.settings import Settings as RotateKeysSettings
from functions.shared.authentication.rate_limit import Limits
from functions.shared.clients.assertion_rules import AssertionRules
from functions.shared.clients.certificate_subject import CertificateSubject, SubjectKind
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.clients.client_secrets import digest_generated
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.storage.state_table import DAY, DynamoDbSecretUses
from functions.shared.web.endpoint import Endpoint
from tests.support.assertions import CLIENT_ID, assertion, assertion_form
from tests.support.aws import CLIENTS_TABLE, ENVIRONMENT, STATE_TABLE
from tests.support.client_certificates import certificate_pem, with_certificate
from tests.support.memory_stores import ManualClock
from tests.support.proxy_events import basic, form_event, token_event
from tests.support.server import NOW, SECRET, client, generate
from tests.support.tokens import ec_jwk

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
def parts(aws: AwsClients, clock: ManualClock) -> dict[str, Any]:
    """Dependencies of the endpoints, with a key ring and clients."""
    secrets = SecretsManagerStore(aws.secrets_manager)
    settings = RotateKeysSettings.from_env(ENVIRONMENT)
    build_rotate_keys(settings, clock=clock, secrets=secrets, generate=generate).run()
    clients = DynamoDbClients(aws.dynamodb, CLIENTS_TABLE)
    clients.put(client("service"))
    clients.put(
        client(
            CLIENT_ID,
            authentication_methods=frozenset({"private_key_jwt"}),
            assertion=AssertionRules(jwks=json.dumps({"keys": [ec_jwk("ec")]})),
        )
    )
    clients.put(
        client(
            "tls",
            authentication_methods=frozenset({"tls_client_auth"}),
            certificate_name=CertificateSubject(SubjectKind.SUBJECT_DN, "CN=client,O=Example"),
        )
    )
    return {"clock": clock, "aws": aws, "emit": lambda _: None}


@pytest.fixture
def token_endpoint(parts: dict[str, Any]) -> Endpoint:
    return build_issue_token(IssueTokenSettings.from_env(ENVIRONMENT), **parts)


@pytest.fixture
def introspection_endpoint(parts: dict[str, Any]) -> Endpoint:
    return build_introspect_token(IntrospectTokenSettings.from_env(ENVIRONMENT), **parts)


def test_rfc7523_3_one_of_100_concurrent_uses_succeeds(token_endpoint: Endpoint) -> None:
    event = token_event(assertion_form(assertion()))
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: token_endpoint(event), range(100)))
    assert sorted(answer["statusCode"] for answer in answers) == [200] + [401] * 99


def test_assertion_is_valid_at_one_endpoint_only(
    token_endpoint: Endpoint, introspection_endpoint: Endpoint
) -> None:
    form = assertion_form(assertion())
    assert token_endpoint(token_event(form))["statusCode"] == 200
    event = form_event("/oauth2/introspect", form | {"token": "x"})
    assert introspection_endpoint(event)["statusCode"] == 401


def test_failed_request_consumes_its_assertion(
    token_endpoint: Endpoint,
) -> None:
    form = assertion_form(assertion())
    assert token_endpoint(token_event(form | {"scope": "admin"}))["statusCode"] == 400
    assert token_endpoint(token_event(form))["statusCode"] == 401


def test_failures_are_counted_across_endpoints(
    token_endpoint: Endpoint, introspection_endpoint: Endpoint
) -> None:
    wrong = basic("service", "wrong")
    limits = Limits()
    for _ in range(limits.per_source):
        assert token_endpoint(token_event(GRANT, headers=wrong))["statusCode"] == 401
    event = form_event("/oauth2/introspect", {"token": "x"}, headers=wrong)
    answer = introspection_endpoint(event)
    assert answer["statusCode"] == 429
    # Windows begin at multiples of their length.
    assert answer["headers"]["Retry-After"] == str(limits.window - NOW % limits.window)
    assert "WWW-Authenticate" not in answer["headers"]


def test_state_table_has_no_clients_or_sources(token_endpoint: Endpoint, aws: AwsClients) -> None:
    token_endpoint(token_event(GRANT, headers=basic("a-telling-name", "wrong")))
    token_endpoint(token_event(assertion_form(assertion())))
    kept = json.dumps(aws.dynamodb.scan(TableName=STATE_TABLE)["Items"])
    assert kept.count('"entry"') == 3
    for telling in ("a-telling-name", "192.0.2.7", CLIENT_ID):
        assert telling not in kept


def test_state_entries_expire(token_endpoint: Endpoint, aws: AwsClients) -> None:
    token_endpoint(token_event(GRANT, headers=basic("service", "wrong")))
    token_endpoint(token_event(GRANT, headers=basic("service", SECRET)))
    token_endpoint(token_event(assertion_form(assertion())))
    items = aws.dynamodb.scan(TableName=STATE_TABLE)["Items"]
    assert len(items) == 4
    assert all(int(item["expires_at"]["N"]) > NOW for item in items)


def test_last_use_survives_a_client_change(token_endpoint: Endpoint, aws: AwsClients) -> None:
    uses = DynamoDbSecretUses(aws.dynamodb, STATE_TABLE)
    digest = digest_generated(SECRET)
    assert token_endpoint(token_event(GRANT, headers=basic("service", SECRET)))["statusCode"] == 200
    DynamoDbClients(aws.dynamodb, CLIENTS_TABLE).put(client("service", name="Another name"))
    assert uses.last_used("service", digest) == NOW // DAY * DAY


def test_rfc8705_2_1_event_certificate_authenticates(token_endpoint: Endpoint) -> None:
    event = token_event(GRANT | {"client_id": "tls"})
    assert token_endpoint(event)["statusCode"] == 401
    assert token_endpoint(with_certificate(event, certificate_pem()))["statusCode"] == 200
    other = with_certificate(event, certificate_pem("CN=other"))
    assert token_endpoint(other)["statusCode"] == 401


def test_two_certificates_are_an_invalid_request(token_endpoint: Endpoint) -> None:
    event = token_event(GRANT, headers=basic("service", SECRET))
    answer = token_endpoint(with_certificate(event, certificate_pem() * 2))
    assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (400, "invalid_request")
