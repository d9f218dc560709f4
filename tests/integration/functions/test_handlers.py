"""The handlers as Lambda calls them, on moto's AWS."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import jwt
import pytest

from functions.introspect_token import handler as introspect_token
from functions.issue_token import handler as issue_token
from functions.issue_token.token_exchange import ACCESS_TOKEN
from functions.publish_jwks import handler as publish_jwks
from functions.publish_metadata import handler as publish_metadata
from functions.revoke_token import handler as revoke_token
from functions.rotate_keys import handler as rotate_keys
from functions.rotate_keys.handler import Settings as RotateKeysSettings
from functions.shared.clients.client import TokenFormat, TokenProfile
from functions.shared.clients.client_registry import FRESH_SECONDS, DynamoDbClients
from functions.shared.clients.client_secrets import StoredSecret, digest_imported
from functions.shared.clients.supported import TOKEN_EXCHANGE
from functions.shared.keys import key_ring
from functions.shared.lambda_function import MissingSettingsError
from tests.support.answers_server import Reply, answers_server
from tests.support.aws import (
    CLIENTS_TABLE,
    ENVIRONMENT,
    ISSUER,
    KEY_RING_SECRET,
    SIGNING_KEYS_SECRET,
    STATE_TABLE,
    TOKENS_TABLE,
    AwsAccount,
    moto_url,
)
from tests.support.aws_server import GRANT, AwsServer, granted
from tests.support.clock import ManualClock
from tests.support.dpop_proofs import proof
from tests.support.proxy_events import basic, form_event, proxy_event, token_event
from tests.support.server import NOW, SCOPES, SECRET, client, key
from tests.support.tokens import rest_event

JWT_REQUEST = {
    "grant_type": "client_credentials",
    "client_id": "service-client-jwt",
    "client_secret": "service-client-jwt-secret",
    "scope": "country.read customer.read customer.write",
}
OPAQUE_REQUEST = JWT_REQUEST | {"client_id": "service-client-opaque", "client_secret": "service-client-opaque-secret"}


# scrypt, once for all tests.
IMPORTED = {each["client_id"]: digest_imported(each["client_secret"]) for each in (JWT_REQUEST, OPAQUE_REQUEST)}


def _verified(server: AwsServer, token: str, audience: str) -> dict[str, Any]:
    """Verify a token as an off-the-shelf resource server does."""
    answer = server.jwks_endpoint(proxy_event("GET", "/oauth2/jwks"))
    claims: dict[str, Any] = jwt.decode(
        token,
        jwt.PyJWKSet.from_json(answer["body"])[jwt.get_unverified_header(token)["kid"]],
        algorithms=["RS256"],
        issuer=ISSUER,
        audience=audience,
        options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
    )
    return claims


@pytest.fixture
def server(server: AwsServer) -> AwsServer:
    for request, token_format in ((JWT_REQUEST, TokenFormat.JWT), (OPAQUE_REQUEST, TokenFormat.OPAQUE)):
        secrets = (StoredSecret(IMPORTED[request["client_id"]]),)
        server.clients.put(client(request["client_id"], secrets=secrets, token_format=token_format))
    server.clients.put(client("authorizer", resource_scopes=frozenset({"country.read"})))
    server.clients.put(client("generated", token_profile=TokenProfile.AT_JWT, audience=("api",)))
    return server


def test_walkthrough_token_request_works(server: AwsServer) -> None:
    response = server.token_endpoint(token_event(JWT_REQUEST))
    assert response["headers"] == {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "Pragma": "no-cache",
    }
    answer = granted(response)
    token = answer.pop("access_token")
    assert answer == {
        "scope": "country.read customer.read customer.write",
        "token_type": "Bearer",
        "expires_in": 14_399,
    }
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": key().kid}
    claims = _verified(server, token, "service-client-jwt")
    assert len(claims.pop("jti")) == 22
    assert claims == {
        "sub": "service-client-jwt",
        "aud": "service-client-jwt",
        "nbf": NOW,
        "scope": list(SCOPES),
        "iss": ISSUER,
        "exp": NOW + 14_400,
        "iat": NOW,
    }


def test_client_and_authorizer_introspect_opaque_token(server: AwsServer) -> None:
    token = server.token(OPAQUE_REQUEST)["access_token"]
    assert token.startswith("gh_at_")
    own = server.introspect(token, "service-client-opaque", "service-client-opaque-secret")
    assert own["active"] is True
    assert own["scope"] == "country.read customer.read customer.write"
    assert own["exp"] == NOW + 14_400
    assert server.introspect(token, "authorizer")["scope"] == "country.read"
    assert server.introspect(token, "generated") == {"active": False}
    server.clock.now = NOW + 14_400
    assert server.introspect(token, "authorizer") == {"active": False}, "DynamoDB deletes it later"
    stored = repr([server.aws.dynamodb.scan(TableName=table)["Items"] for table in (TOKENS_TABLE, CLIENTS_TABLE)])
    for secret in (token, SECRET, OPAQUE_REQUEST["client_secret"]):
        assert secret not in stored


def test_jwt_is_introspected(server: AwsServer) -> None:
    token = server.token(GRANT | {"scope": "customer.read country.read"}, headers=basic("generated", SECRET))[
        "access_token"
    ]
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = _verified(server, token, "api")
    introspected = server.introspect(token, "generated")
    assert introspected == claims | {"active": True, "token_type": "Bearer"}
    assert introspected["scope"] == "customer.read country.read"
    for now, is_active in ((NOW + 14_399.9, True), (NOW + 14_400, False)):
        server.clock.now = now
        assert server.introspect(token, "generated")["active"] is is_active


def test_modified_token_is_inactive(server: AwsServer) -> None:
    token = server.token(JWT_REQUEST)["access_token"]
    shown = server.introspect(token, "authorizer")
    assert (shown["scope"], shown["client_id"]) == ("country.read", "service-client-jwt")
    header, payload, signature = token.split(".")
    forged = f"{header}.{payload[:-2]}AA.{signature}"
    assert server.introspect(forged, "authorizer") == {"active": False}


REFUSALS: dict[str, tuple[dict[str, str], int, str]] = {
    "unknown client": ({"client_id": "absent"}, 401, "invalid_client"),
    "wrong secret": ({"client_secret": "wrong"}, 401, "invalid_client"),
    "another grant type": ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    "unknown scope": ({"scope": "country.delete"}, 400, "invalid_scope"),
}


@pytest.mark.parametrize(("change", "status", "code"), REFUSALS.values(), ids=REFUSALS)
def test_error_has_its_status_and_code(server: AwsServer, change: dict[str, str], status: int, code: str) -> None:
    answer = server.token_endpoint(token_event(JWT_REQUEST | change))
    assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (status, code)
    assert answer["headers"]["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer["headers"]) is (status == 401)
    assert json.loads(server.log[-1])["outcome"] == code


def test_unknown_client_equals_wrong_secret(server: AwsServer) -> None:
    unknown = server.token_endpoint(token_event(JWT_REQUEST | {"client_id": "absent"}))
    wrong = server.token_endpoint(token_event(JWT_REQUEST | {"client_secret": "wrong"}))
    assert unknown == wrong


def test_token_log_line_is_complete_without_secrets(server: AwsServer) -> None:
    token = server.token(JWT_REQUEST)["access_token"]
    (line,) = server.log
    assert json.loads(line) == {
        "endpoint": "issue_token",
        "request_id": "JKJaXmPLvHcESHA=",
        "source_ip": "192.0.2.7",
        "outcome": "success",
        "authentication_method": "client_secret_post",
        "client_id": "service-client-jwt",
        "grant_type": "client_credentials",
        "scopes": list(SCOPES),
        "audience": ["service-client-jwt"],
        "token_format": "jwt",
        "kid": key().kid,
        "expires_at": NOW + 14_400,
        "status": 200,
    }
    assert token not in line


def test_cold_process_issues_tokens_with_the_same_key(server: AwsServer) -> None:
    first = server.token(JWT_REQUEST)["access_token"]
    server.restart()
    second = server.token(JWT_REQUEST)["access_token"]
    headers = [jwt.get_unverified_header(token) for token in (first, second)]
    assert headers[0] == headers[1]


@pytest.mark.parametrize("request_", [JWT_REQUEST, OPAQUE_REQUEST], ids=["jwt", "opaque"])
def test_revoked_token_is_inactive_for_every_process(server: AwsServer, request_: dict[str, str]) -> None:
    token = server.token(request_)["access_token"]
    assert server.introspect(token, "authorizer")["active"] is True
    headers = basic(request_["client_id"], request_["client_secret"])
    for _ in range(2):
        answer = server.revocation_endpoint(form_event("/oauth2/revoke", {"token": token}, headers=headers))
        assert (answer["statusCode"], answer["body"]) == (200, "{}")
    assert server.introspect(token, "authorizer") == {"active": False}


def _disable(server: AwsServer, client_id: str) -> None:
    known = server.clients.find(client_id)
    assert known
    server.clients.put(replace(known, disabled=True))


def _delete(server: AwsServer, client_id: str) -> None:
    server.aws.dynamodb.delete_item(TableName=CLIENTS_TABLE, Key={"client_id": {"S": client_id}})


@pytest.mark.parametrize("end", [_disable, _delete])
@pytest.mark.parametrize("request_", [JWT_REQUEST, OPAQUE_REQUEST], ids=["jwt", "opaque"])
def test_disabled_clients_token_ends_in_thirty_seconds(
    server: AwsServer, request_: dict[str, str], end: Callable[[AwsServer, str], None]
) -> None:
    token = server.token(request_)["access_token"]
    assert server.introspect(token, "authorizer")["active"] is True
    end(server, request_["client_id"])
    server.clock.now += FRESH_SECONDS - 1
    assert server.introspect(token, "authorizer")["active"] is True
    assert server.token(request_)
    server.clock.now += 1
    assert server.introspect(token, "authorizer") == {"active": False}
    assert server.token_endpoint(token_event(request_))["statusCode"] == 401


def test_dpop_proof_is_valid_once_across_processes(server: AwsServer) -> None:
    once = {"DPoP": proof()}
    event = token_event(JWT_REQUEST, headers=once)
    assert json.loads(server.token_endpoint(event)["body"])["token_type"] == "DPoP"
    server.restart()
    answer = server.token_endpoint(event)
    assert json.loads(answer["body"])["error"] == "invalid_dpop_proof"
    nonce = answer["headers"]["DPoP-Nonce"]
    event = token_event(JWT_REQUEST, headers={"DPoP": proof(nonce=nonce)})
    assert server.token_endpoint(event)["statusCode"] == 200


@pytest.mark.parametrize(
    ("ring", "reason"),
    [
        (None, "there is no key ring yet: rotate_keys makes one"),
        ('{"version": 2, "keys": []}', "version 2, this code reads 1"),
    ],
    ids=["missing", "newer"],
)
def test_unusable_key_ring_is_a_logged_server_error(
    aws: AwsAccount, clock: ManualClock, ring: str | None, reason: str
) -> None:
    server = AwsServer(aws, clock)
    server.clients.put(client("a"))
    if ring:
        server.secrets.write(KEY_RING_SECRET, ring)
    answers = [
        server.jwks_endpoint(proxy_event("GET", "/oauth2/jwks")),
        server.token_endpoint(token_event(GRANT, headers=basic("a", SECRET))),
    ]
    for answer, line in zip(answers, server.log, strict=True):
        assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (500, "server_error")
        assert "key ring" not in answer["body"]
        assert reason in json.loads(line)["reason"]


def test_real_key_generator_makes_a_working_server(aws: AwsAccount, clock: ManualClock) -> None:
    server = AwsServer(aws, clock)
    settings = RotateKeysSettings.from_env(ENVIRONMENT)
    made = rotate_keys.build(settings, clock=clock, secrets=server.secrets).run()
    ring = key_ring.from_json(server.secrets.read(KEY_RING_SECRET))
    assert made.created == (ring.keys[0].kid,)
    server.clients.put(client("service-client-jwt"))
    token = server.token(JWT_REQUEST | {"client_secret": SECRET})["access_token"]
    assert _verified(server, token, "service-client-jwt")["sub"] == "service-client-jwt"


HANDLERS = {
    "issue_token": issue_token,
    "publish_jwks": publish_jwks,
    "introspect_token": introspect_token,
    "revoke_token": revoke_token,
    "publish_metadata": publish_metadata,
    "rotate_keys": rotate_keys,
}


@pytest.mark.parametrize("module", HANDLERS.values(), ids=HANDLERS)
def test_missing_environment_is_named(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    module.handle.reset()
    needed = "ISSUER" if module is publish_metadata else "KEY_RING_SECRET"
    with pytest.raises(MissingSettingsError, match=needed):
        module.handle({}, None)


def test_handlers_read_their_environment(
    aws: AwsAccount, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url())
    for module in HANDLERS.values():
        module.handle.reset()
    assert rotate_keys.handle({}, None)["created"]
    DynamoDbClients(aws, CLIENTS_TABLE).put(client("a", token_format=TokenFormat.OPAQUE))
    event = token_event(GRANT, headers=basic("a", SECRET))
    token = granted(issue_token.handle(event, None))["access_token"]
    event = form_event("/oauth2/introspect", {"token": token}, headers=basic("a", SECRET))
    assert granted(introspect_token.handle(event, None))["active"] is True
    event = form_event("/oauth2/revoke", {"token": token}, headers=basic("a", SECRET))
    assert revoke_token.handle(event, None)["statusCode"] == 200
    answer = publish_jwks.handle(proxy_event("GET", "/oauth2/jwks"), None)
    assert len(json.loads(answer["body"])["keys"]) == 1
    event = proxy_event("GET", "/.well-known/openid-configuration")
    assert json.loads(publish_metadata.handle(event, None)["body"])["issuer"] == ISSUER
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("endpoint", line.get("function")) for line in lines] == [
        "rotate_keys",
        "issue_token",
        "introspect_token",
        "revoke_token",
        "publish_jwks",
        "publish_metadata",
    ]
    for module in HANDLERS.values():
        module.handle.reset()


RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
INVOCATIONS = """
import importlib, json, sys
for name, event in json.load(sys.stdin):
    print(json.dumps({"response": importlib.import_module(name).handle(event, None)}))
assert not {"boto3", "botocore"} & sys.modules.keys()
"""


def test_no_function_that_answers_requests_imports_boto3(server: AwsServer) -> None:
    """Each one runs on moto in a new process, the authorizer with a deny list."""
    server.clock.now = time.time()  # the new process has no other clock
    answer = server.jwks_endpoint(proxy_event("GET", "/oauth2/jwks"))
    token = server.token(JWT_REQUEST)["access_token"]
    form, own = {"token": token}, JWT_REQUEST
    api = {"domainName": "api.example.com", "path": f"/ms-system{RESOURCE_METADATA}", "stage": "ms-system"}
    invocations = [
        ("issue_token", token_event(JWT_REQUEST)),
        ("issue_token", token_event(OPAQUE_REQUEST)),
        ("introspect_token", form_event("/oauth2/introspect", form, headers=basic("authorizer", SECRET))),
        ("revoke_token", form_event("/oauth2/revoke", form, headers=basic(own["client_id"], own["client_secret"]))),
        ("publish_jwks", proxy_event("GET", "/oauth2/jwks")),
        ("publish_metadata", proxy_event("GET", "/.well-known/openid-configuration")),
        ("publish_resource_metadata", proxy_event("GET", RESOURCE_METADATA, requestContext=api)),
    ]
    events = [*((f"functions.{name}.handler", event) for name, event in invocations)]
    with answers_server() as issuer:
        issuer.answers["GET /jwks"] = Reply(200, answer["body"])
        environ = {
            **os.environ,
            **ENVIRONMENT,
            "AWS_ENDPOINT_URL": moto_url(),
            "JWKS_URI": f"{issuer.url}/jwks",
            "DENY_LIST_TABLE": STATE_TABLE,
        }
        run = subprocess.run(
            [sys.executable, "-c", INVOCATIONS],
            input=json.dumps([("authorizer.handler", rest_event(token)), *events]),
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 0, run.stderr
    lines = map(json.loads, run.stdout.splitlines())
    policy, *responses = [line["response"] for line in lines if "response" in line]
    assert [response["statusCode"] for response in responses] == [200] * len(invocations)
    assert policy["principalId"] == "service-client-jwt"


@pytest.mark.parametrize("token_format", TokenFormat)
def test_service_exchanges_its_callers_token(server: AwsServer, token_format: TokenFormat) -> None:
    profiled = {"token_profile": TokenProfile.AT_JWT, "audience": ("orders-api",)}
    server.clients.put(client("caller", token_format=token_format, **profiled))
    service = client(
        "orders",
        grant_types=frozenset({TOKEN_EXCHANGE}),
        token_profile=TokenProfile.AT_JWT,
        audience=("stock-api",),
        resource_audiences=frozenset({"orders-api"}),
        exchange_subjects=frozenset({"caller"}),
    )
    server.clients.put(service)
    requested = GRANT | {"scope": "country.read"}
    received = server.token(requested, headers=basic("caller", SECRET))["access_token"]
    exchange = {"grant_type": TOKEN_EXCHANGE, "subject_token": received, "subject_token_type": ACCESS_TOKEN}
    exchanged = server.token(exchange, headers=basic("orders", SECRET))["access_token"]
    claims = _verified(server, exchanged, "stock-api")
    assert (claims["sub"], claims["act"]) == ("caller", {"sub": "orders"})


def test_prepared_endpoints_read_no_secret_in_the_first_request(server: AwsServer) -> None:
    requests = {"issue_token": token_event(JWT_REQUEST), "publish_jwks": proxy_event("GET", "/oauth2/jwks")}
    endpoints = {"issue_token": server.token_endpoint, "publish_jwks": server.jwks_endpoint}
    for endpoint in endpoints.values():
        endpoint.prepare()
    for secret in (KEY_RING_SECRET, SIGNING_KEYS_SECRET):
        server.aws.secrets_manager.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
    for name, endpoint in endpoints.items():
        assert endpoint(requests[name])["statusCode"] == 200
    server.restart()
    assert server.token_endpoint(requests["issue_token"])["statusCode"] == 500
