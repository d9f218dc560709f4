"""Client authentication with the real parts, on moto's tables."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.shared.authentication.rate_limit import Limits
from functions.shared.clients.assertion_rules import AssertionRules
from functions.shared.clients.certificate_name import CertificateName, CertificateNameKind
from functions.shared.clients.client_secrets import digest_generated
from functions.shared.lifetimes import DAY
from functions.shared.storage.state_table import SecretUses
from tests.support.assertions import CLIENT_ID, assertion, assertion_form
from tests.support.aws import STATE_TABLE
from tests.support.aws_server import GRANT, AwsServer
from tests.support.client_certificates import certificate_pem, with_certificate
from tests.support.proxy_events import basic, form_event, token_event
from tests.support.server import NOW, SECRET, client
from tests.support.tokens import ec_jwk


@pytest.fixture
def server(server: AwsServer) -> AwsServer:
    server.clients.put(
        client(
            CLIENT_ID,
            authentication_methods=frozenset({"private_key_jwt"}),
            assertion=AssertionRules(jwks=json.dumps({"keys": [ec_jwk("ec")]})),
        )
    )
    server.clients.put(
        client(
            "tls",
            authentication_methods=frozenset({"tls_client_auth"}),
            certificate_name=CertificateName(CertificateNameKind.SUBJECT_DN, "CN=client,O=Example"),
        )
    )
    return server


def test_rfc7523_3_one_of_100_concurrent_uses_succeeds(server: AwsServer) -> None:
    event = token_event(assertion_form(assertion()))
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: server.token_endpoint(event), range(100)))
    assert sorted(answer["statusCode"] for answer in answers) == [200] + [401] * 99


def test_failed_request_consumes_its_assertion_at_every_endpoint(server: AwsServer) -> None:
    form = assertion_form(assertion())
    assert server.token_endpoint(token_event(form | {"scope": "admin"}))["statusCode"] == 400
    assert server.token_endpoint(token_event(form))["statusCode"] == 401
    event = form_event("/oauth2/introspect", form | {"token": "x"})
    assert server.introspection_endpoint(event)["statusCode"] == 401


def test_failures_are_counted_across_endpoints(server: AwsServer) -> None:
    wrong = basic("service", "wrong")
    limits = Limits()
    for _ in range(limits.per_source):
        assert server.token_endpoint(token_event(GRANT, headers=wrong))["statusCode"] == 401
    event = form_event("/oauth2/introspect", {"token": "x"}, headers=wrong)
    answer = server.introspection_endpoint(event)
    assert answer["statusCode"] == 429
    # Windows begin at multiples of their length.
    assert answer["headers"]["Retry-After"] == str(limits.window - NOW % limits.window)
    assert "WWW-Authenticate" not in answer["headers"]


def test_state_entries_expire_and_name_no_client_or_source(server: AwsServer) -> None:
    server.token_endpoint(token_event(GRANT, headers=basic("a-telling-name", "wrong")))
    server.token_endpoint(token_event(GRANT, headers=basic("service", SECRET)))
    server.token_endpoint(token_event(assertion_form(assertion())))
    items = server.aws.dynamodb.scan(TableName=STATE_TABLE)["Items"]
    assert len(items) == 4
    assert all(int(item["expires_at"]["N"]) > NOW for item in items)
    for telling in ("a-telling-name", "service", "192.0.2.7", CLIENT_ID):
        assert telling not in json.dumps(items)


def test_last_use_survives_a_client_change(server: AwsServer) -> None:
    uses = SecretUses(server.aws, STATE_TABLE)
    digest = digest_generated(SECRET)
    assert server.status("service") == 200
    server.clients.put(client("service", name="Another name"))
    assert uses.last_used("service", digest) == NOW // DAY * DAY


def test_rfc8705_2_1_event_certificate_authenticates(server: AwsServer) -> None:
    event = token_event(GRANT | {"client_id": "tls"})
    assert server.token_endpoint(event)["statusCode"] == 401
    assert server.token_endpoint(with_certificate(event, certificate_pem()))["statusCode"] == 200
    other = with_certificate(event, certificate_pem("CN=other"))
    assert server.token_endpoint(other)["statusCode"] == 401


def test_two_certificates_are_an_invalid_request(server: AwsServer) -> None:
    event = token_event(GRANT, headers=basic("service", SECRET))
    answer = server.token_endpoint(with_certificate(event, certificate_pem() * 2))
    assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (400, "invalid_request")
