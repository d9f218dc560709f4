"""Opaque tokens, with an introspection endpoint that counts its requests."""

import json
from base64 import b64decode
from collections.abc import Iterator
from math import inf
from typing import Any

import boto3
import pytest
from moto import mock_aws
from mypy_boto3_secretsmanager import SecretsManagerClient

from authorizer.aws_client import AwsClient
from authorizer.claims import ClaimRules, Confirmation, VerifiedToken
from authorizer.clock import Clocks, Deadline
from authorizer.errors import IntrospectionError, InvalidTokenError, Reason
from authorizer.https_client import HttpExchangeError, Request, Response
from authorizer.introspection import Credentials, Introspector, SecretsManagerCredentials, fixed_credentials
from tests.support.aws import moto_url
from tests.support.clock import ManualClock
from tests.support.tokens import CLIENT, ISSUER, NOW

URI = "http://localhost:8085/ms-auth-server/oauth2/introspect"
OPAQUE = "an-opaque-token"
AUDIENCE = "https://api.example.com"


def active(**changes: object) -> dict[str, Any]:
    good = {
        "active": True,
        "client_id": CLIENT,
        "sub": CLIENT,
        "scope": "country.read customer.read",
        "exp": NOW + 600,
        "iat": NOW,
        "iss": ISSUER,
        "token_type": "Bearer",
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


class Endpoint:
    """An introspection endpoint with one response for every token."""

    def __init__(self, answer: object = None, status: int = 200) -> None:
        self.answer = active() if answer is None else answer
        self.status = status
        self.down = False
        self.requests: list[Request] = []
        self.left: list[float] = []
        self.credentials = Credentials("authorizer", "secret")
        self.renewals = 0

    def send(self, request: Request) -> Response:
        self.requests.append(request)
        self.left.append(request.deadline.remaining())
        if self.down:
            raise HttpExchangeError("down")
        raw = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        return Response(self.status, {}, raw)

    def source(self, renew: bool, deadline: Deadline) -> Credentials:
        if renew:
            self.renewals += 1
        return self.credentials


class Sandbox:
    """An introspector with its endpoint and its clock."""

    def __init__(
        self,
        answer: object = None,
        status: int = 200,
        *,
        audiences: frozenset[str] = frozenset(),
        client_ids: frozenset[str] = frozenset(),
        retained: frozenset[str] | None = frozenset(),
    ) -> None:
        self.clock = ManualClock()
        self.endpoint = Endpoint(answer, status)
        self.introspector = Introspector(
            URI,
            self.endpoint.send,
            self.endpoint.source,
            ClaimRules(ISSUER, audiences, client_ids, 86_400, retained),
            Clocks(self.clock, self.clock),
        )

    def introspect(self, token: str = OPAQUE) -> VerifiedToken:
        return self.introspector.introspect(token, self.clock.now, Deadline(1, self.clock))

    def refusal(self, token: str = OPAQUE) -> Reason:
        with pytest.raises(InvalidTokenError) as refused:
            self.introspect(token)
        return refused.value.reason

    def failure(self, token: str = OPAQUE) -> Reason:
        with pytest.raises(IntrospectionError) as failure:
            self.introspect(token)
        return failure.value.reason


def test_active_token_is_read() -> None:
    token = Sandbox(active(jti="a", nbf=NOW)).introspect()
    assert token == VerifiedToken(
        issuer=ISSUER,
        subject=CLIENT,
        client_id=CLIENT,
        scopes=frozenset({"country.read", "customer.read"}),
        expires_at=NOW + 600,
        not_before=NOW,
        jti="a",
        key_id=None,
        confirmation=None,
    )


@pytest.mark.parametrize(
    ("retained", "claims"),
    [
        (frozenset[str](), {}),
        (frozenset({"tenant", "absent"}), {"tenant": "blue"}),
        (None, active(tenant="blue", level=1)),
    ],
)
def test_token_has_the_retained_members(retained: frozenset[str] | None, claims: dict[str, Any]) -> None:
    sandbox = Sandbox(active(tenant="blue", level=1, unset=None), retained=retained)
    assert sandbox.introspect().claims == claims


def test_request_is_authenticated_and_form_encoded() -> None:
    sandbox = Sandbox()
    sandbox.endpoint.credentials = Credentials("an id", "p:ss%wörd")
    sandbox.introspect("a+b/c=")
    (request,) = sandbox.endpoint.requests
    assert (request.method, request.url) == ("POST", URI)
    assert request.body == b"token=a%2Bb%2Fc%3D&token_type_hint=access_token"
    scheme, _, value = request.headers["Authorization"].partition(" ")
    assert (scheme, b64decode(value)) == ("Basic", b"an+id:p%3Ass%25w%C3%B6rd")


def test_optional_members_may_be_absent() -> None:
    token = Sandbox({"active": True, "client_id": CLIENT}).introspect()
    assert (token.subject, token.client_id, token.scopes) == (CLIENT, CLIENT, frozenset())
    assert token.expires_at == NOW + 60


@pytest.mark.parametrize(
    "answer", [active(active="false"), [active()], b"<html>", b"", b'{"active":true,"active":true}', b"\xff"]
)
def test_86_88_invalid_response_is_an_internal_error(answer: object) -> None:
    assert Sandbox(answer).failure() is Reason.INTROSPECTION_MALFORMED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"active": False}, Reason.TOKEN_INACTIVE),
        ({"exp": NOW}, Reason.EXPIRED),
        ({"exp": NOW - 1, "iat": NOW - 9}, Reason.EXPIRED),
        ({"exp": str(NOW + 60)}, Reason.EXP_MALFORMED),
        ({"exp": NOW + 90_000}, Reason.LIFETIME_TOO_LONG),
        ({"nbf": NOW + 31}, Reason.NOT_YET_VALID),
        ({"iat": True}, Reason.IAT_MALFORMED),
        ({"iss": ISSUER + "/"}, Reason.ISS_UNKNOWN),
        ({"aud": "other"}, Reason.AUD_OTHER),
        ({"aud": []}, Reason.AUD_MISSING),
        ({"aud": None}, Reason.AUD_MISSING),
        ({"aud": [None]}, Reason.AUD_MALFORMED),
        ({"aud": ...}, Reason.AUD_MISSING),
        ({"sub": ""}, Reason.SUB_MALFORMED),
        ({"sub": ..., "client_id": ...}, Reason.CLIENT_ID_MISSING),
        ({"client_id": "other"}, Reason.CLIENT_ID_NOT_ALLOWED),
        ({"scope": 1}, Reason.SCOPE_MALFORMED),
        ({"token_type": "DPoP"}, Reason.TOKEN_TYPE),
        ({"token_type": "DPoP", "cnf": {"x5t#S256": "A" * 43}}, Reason.TOKEN_TYPE),
        ({"token_type": "mac"}, Reason.TOKEN_TYPE),
        ({"cnf": {"x": 1}}, Reason.CNF_UNKNOWN),
    ],
)
def test_87_mismatched_response_rejects_the_token(changes: dict[str, object], reason: Reason) -> None:
    answer = active(**({"iat": ..., "aud": AUDIENCE} | changes))
    sandbox = Sandbox(answer, audiences=frozenset({AUDIENCE}), client_ids=frozenset({CLIENT}))
    assert sandbox.refusal() is reason


def test_null_member_or_empty_audience_is_absent() -> None:
    members = ("aud", "client_id", "cnf", "exp", "iat", "iss", "jti", "nbf", "scope", "sub", "token_type")
    for member, value in (*((member, None) for member in members), ("aud", list[str]())):
        assert Sandbox(active(**{member: value})).introspect() == Sandbox(active(**{member: ...})).introspect()


def test_all_null_response_names_no_principal() -> None:
    nulls = dict.fromkeys(("aud", "exp", "iat", "iss", "scope", "sub", "client_id"))
    assert Sandbox({"active": True, **nulls}).refusal() is Reason.SUB_MISSING


@pytest.mark.parametrize("scope", ["", [], None])
def test_response_without_scopes_grants_nothing(scope: object) -> None:
    assert Sandbox(active(scope=scope)).introspect().scopes == frozenset()


@pytest.mark.parametrize(("token_type", "method"), [("DPoP", "jkt"), ("Bearer", "jkt"), ("Bearer", "x5t#S256")])
def test_response_has_the_confirmation(token_type: str, method: str) -> None:
    token = Sandbox(active(token_type=token_type, cnf={method: "A" * 43})).introspect()
    assert token.confirmation == Confirmation(method, "A" * 43)


def test_credentials_and_requests_share_one_deadline() -> None:
    sandbox = Sandbox(active(), 401)
    waited: list[float] = []

    def slow(renew: bool, deadline: Deadline) -> Credentials:
        waited.append(deadline.remaining())
        sandbox.clock.advance(0.25)
        return Credentials("authorizer", "new" if renew else "old")

    sandbox.introspector._credentials = slow
    assert sandbox.failure() is Reason.INTROSPECTION_CREDENTIALS
    assert waited == [1, 0.75]
    assert sandbox.endpoint.left == [0.75, 0.5]


def test_overlong_token_is_not_introspected() -> None:
    sandbox = Sandbox()
    assert sandbox.refusal("x" * 1025) is Reason.TOKEN_TOO_LONG
    assert not sandbox.endpoint.requests


def test_active_result_is_cached_for_a_minute() -> None:
    sandbox = Sandbox()
    for _ in range(100):
        sandbox.introspect()
    sandbox.clock.advance(59)
    sandbox.introspect()
    assert len(sandbox.endpoint.requests) == 1
    sandbox.endpoint.answer = {"active": False}
    sandbox.clock.advance(1)
    assert sandbox.refusal() is Reason.TOKEN_INACTIVE
    assert len(sandbox.endpoint.requests) == 2


def test_active_result_ends_with_the_token() -> None:
    sandbox = Sandbox(active(exp=NOW + 10))
    sandbox.introspect()
    sandbox.clock.advance(9.9)
    sandbox.introspect()
    sandbox.clock.advance(0.1)
    assert sandbox.refusal() is Reason.EXPIRED


def test_clock_set_back_does_not_extend_a_result() -> None:
    sandbox = Sandbox()
    monotonic = ManualClock()
    sandbox.introspector._cache._clocks = Clocks(sandbox.clock, monotonic)
    sandbox.introspect()
    sandbox.endpoint.answer = {"active": False}
    sandbox.clock.advance(40)
    sandbox.clock.advance(-20)
    monotonic.advance(60)
    assert sandbox.refusal() is Reason.TOKEN_INACTIVE


def test_inactive_result_is_cached_for_five_seconds() -> None:
    sandbox = Sandbox({"active": False})
    sandbox.refusal()
    sandbox.clock.advance(4.9)
    sandbox.refusal()
    assert len(sandbox.endpoint.requests) == 1
    sandbox.clock.advance(0.1)
    sandbox.refusal()
    assert len(sandbox.endpoint.requests) == 2


def test_each_token_has_its_own_result() -> None:
    sandbox = Sandbox()
    sandbox.introspect("one")
    sandbox.endpoint.answer = {"active": False}
    assert sandbox.refusal("two") is Reason.TOKEN_INACTIVE
    assert sandbox.introspect("one")


def test_invalid_tokens_do_not_evict_active_ones() -> None:
    sandbox = Sandbox()
    sandbox.introspect("good")
    sandbox.endpoint.answer = {"active": False}
    for number in range(3000):
        sandbox.refusal(f"bad-{number}")
    assert sandbox.introspect("good")


def test_waiting_too_long_is_an_internal_error() -> None:
    sandbox = Sandbox()
    quick = sandbox.endpoint.send

    def slow(request: Request) -> Response:
        with pytest.raises(IntrospectionError):
            sandbox.introspector.introspect(OPAQUE, NOW, Deadline(0.001, sandbox.clock))
        return quick(request)

    sandbox.introspector._send = slow
    assert sandbox.introspect()
    assert len(sandbox.endpoint.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_89_rejected_credentials_are_an_internal_error(status: int) -> None:
    sandbox = Sandbox(active(), status)
    assert sandbox.failure() is Reason.INTROSPECTION_CREDENTIALS
    assert (len(sandbox.endpoint.requests), sandbox.endpoint.renewals) == (1, 1)


def test_rotated_credentials_are_refetched_once() -> None:
    sandbox = Sandbox(active(), 401)

    def rotate(renew: bool, deadline: Deadline) -> Credentials:
        if renew:
            sandbox.endpoint.status = 200
        return Credentials("authorizer", "new" if renew else "old")

    sandbox.introspector._credentials = rotate
    assert sandbox.introspect()
    assert len(sandbox.endpoint.requests) == 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (500, Reason.INTROSPECTION_UNREACHABLE),
        (503, Reason.INTROSPECTION_UNREACHABLE),
        (429, Reason.INTROSPECTION_UNREACHABLE),
        (302, Reason.INTROSPECTION_STATUS),
        (400, Reason.INTROSPECTION_STATUS),
        (404, Reason.INTROSPECTION_STATUS),
    ],
)
def test_88_other_status_is_an_internal_error(status: int, reason: Reason) -> None:
    assert Sandbox(active(), status).failure() is reason


def test_outage_opens_the_circuit_breaker() -> None:
    sandbox = Sandbox()
    sandbox.endpoint.down = True
    for _ in range(3):
        assert sandbox.failure() is Reason.INTROSPECTION_UNREACHABLE
    for _ in range(100):
        assert sandbox.failure() is Reason.INTROSPECTION_PAUSED
    assert len(sandbox.endpoint.requests) == 3
    sandbox.endpoint.down = False
    sandbox.clock.advance(1)
    assert sandbox.introspect()
    sandbox.endpoint.down = True
    assert sandbox.failure("another") is Reason.INTROSPECTION_UNREACHABLE


def test_rejected_tokens_do_not_open_the_breaker() -> None:
    sandbox = Sandbox(active(), 400)
    for number in range(10):
        assert sandbox.failure(f"odd-{number}") is Reason.INTROSPECTION_STATUS


# Credentials

SOON = Deadline(inf)


@pytest.fixture
def secrets_manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretsManagerClient]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("secretsmanager")
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url())
        yield client


def test_fixed_credentials_never_change() -> None:
    source = fixed_credentials("id", "secret")
    assert source(False, SOON) == source(True, SOON) == Credentials("id", "secret")


def test_secret_is_fetched_once_until_refresh(secrets_manager: SecretsManagerClient) -> None:
    text = '{"client_id":"a","client_secret":"one"}'
    arn = secrets_manager.create_secret(Name="introspection", SecretString=text)["ARN"]
    source = SecretsManagerCredentials(arn, AwsClient(3))
    assert source(False, SOON) == Credentials("a", "one")
    secrets_manager.put_secret_value(SecretId=arn, SecretString='{"client_id":"a","client_secret":"two"}')
    assert source(False, SOON) == Credentials("a", "one")
    assert source(True, SOON) == Credentials("a", "two")
    assert source(False, SOON) == Credentials("a", "two")


@pytest.mark.parametrize(
    "secret",
    [
        *({"SecretString": text} for text in ("secret", "[]", "{}", '{"client_id":"a"}')),
        *({"SecretString": '{"client_id":1,"client_secret":"b"}'}, {"SecretBinary": b"x"}, None),
    ],
)
def test_malformed_or_missing_secret_is_an_internal_error(
    secrets_manager: SecretsManagerClient, secret: dict[str, Any] | None
) -> None:
    if secret is not None:
        secrets_manager.create_secret(Name="introspection", **secret)
    with pytest.raises(IntrospectionError, match=f"^{Reason.INTROSPECTION_CREDENTIALS}$"):
        SecretsManagerCredentials("introspection", AwsClient(3))(False, SOON)
