"""SnapStart: one initialized process is restored several times, hours later, on other hosts."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import jwt
import pytest

from infra.build import ARTIFACTS
from local.emulated_aws import names
from tests.artifacts.conftest import Stack
from tests.support import snapshot
from tests.support.answers_server import ReceivedRequest, Reply, answers_server
from tests.support.authorizer_events import recorded
from tests.support.lambda_runtime import REGION
from tests.support.proxy_events import basic, token_event
from tests.support.tokens import KID, claims, jwks, mint, rsa_jwk

HOURS = 6 * 3600
NOWHERE = "http://localhost:1"
KEYS_IN_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def _token_event(client_id: str) -> dict[str, Any]:
    grant = {"grant_type": "client_credentials", "scope": "country.read"}
    return token_event(grant, headers=basic(client_id, f"{client_id}-secret"))


JWT_EVENT, OPAQUE_EVENT = _token_event("service-client-jwt"), _token_event("service-client-opaque")


class Snapshot:
    """An initialized process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert self._answer() == [], "the initialization failed"

    def warm(self, *events: object) -> list[Any]:
        """Handle events in the process of which copies are made afterwards."""
        return self._ask(restore=False, events=events)

    def restore(self, *events: object, wall: float = HOURS, monotonic: float = HOURS, **environ: str) -> list[Any]:
        """Handle events in a copy whose clocks have advanced."""
        return self._ask(restore=True, events=events, wall=wall, monotonic=monotonic, environ=environ)

    def _ask(self, **request: object) -> list[Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> list[Any]:
        assert self._process.stdout
        found: list[Any] = json.loads(self._process.stdout.readline() or '"ended"')
        return found


@contextlib.contextmanager
def initialized(stack: Stack, function: str, issuer: str = NOWHERE, **changes: str) -> Iterator[Snapshot]:
    """Initialize an artifact as Lambda does for a snapshot."""
    declared = stack.template.function(function, names(), {"AuthServerApi": issuer})
    environ = {
        **declared.environment,
        "AWS_ENDPOINT_URL": stack.aws_url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
        "PYTHONPATH": f".:{stack.runtime}",
        **changes,
    }
    process = subprocess.Popen(
        [sys.executable, "-S", snapshot.__file__, declared.handler],
        cwd=stack.build / function,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield Snapshot(process)
        finally:
            process.kill()


ACCESS_KEYS = dict.fromkeys(KEYS_IN_ENVIRONMENT, "local")


@pytest.mark.parametrize("function", sorted(ARTIFACTS.keys() - {"RotateKeys"}))  # boto3 has a random key of its own
def test_initialization_uses_no_randomness_connection_or_credentials(stack: Stack, function: str) -> None:
    with initialized(stack, function):
        """The process ends at the first use of either."""


def _bodies(results: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(result["body"]) for result in results]


def _access_tokens(results: list[Any]) -> list[str]:
    return [body["access_token"] for body in _bodies(results)]


@pytest.mark.parametrize("is_warm", [False, True], ids=["initialized", "warm"])
def test_restores_issue_different_tokens(stack: Stack, is_warm: bool) -> None:
    with initialized(stack, "IssueToken", **ACCESS_KEYS) as process:
        if is_warm:
            process.warm(JWT_EVENT, OPAQUE_EVENT)
        issued = [process.restore(JWT_EVENT, OPAQUE_EVENT) for _ in range(2)]
    tokens = [token for results in issued for token in _access_tokens(results)]
    assert len(set(tokens)) == 4
    first, second = (jwt.decode(token, options={"verify_signature": False}) for token in tokens[::2])
    assert first["jti"] != second["jti"]
    assert first["iat"] > time.time() + HOURS - 60, "the clock is read after the restore"


@pytest.mark.parametrize(("wall", "monotonic"), [(HOURS, 0.0), (HOURS, -HOURS), (0.0, HOURS)])
def test_restored_process_reads_changed_records(stack: Stack, wall: float, monotonic: float) -> None:
    """On another host the monotonic clock may be behind that of the snapshot."""
    dynamodb = boto3.Session("local", "local", region_name=REGION).client("dynamodb", endpoint_url=stack.aws_url)
    table = stack.template.function("IssueToken", names()).environment["CLIENTS_TABLE"]
    key = {"client_id": {"S": "service-client-jwt"}}

    def disable(value: bool) -> None:
        dynamodb.update_item(
            TableName=table,
            Key=key,
            UpdateExpression="SET disabled = :value",
            ExpressionAttributeValues={":value": {"BOOL": value}},
        )

    with initialized(stack, "IssueToken", **ACCESS_KEYS) as process:
        (before,) = process.warm(JWT_EVENT)
        disable(True)
        try:
            (after,) = process.restore(JWT_EVENT, wall=wall, monotonic=monotonic)
        finally:
            disable(False)
        assert (before["statusCode"], after["statusCode"]) == (200, 401)
        assert process.restore(JWT_EVENT, wall=wall, monotonic=monotonic)[0]["statusCode"] == 200


def test_restored_process_fetches_its_credentials(stack: Stack) -> None:
    ahead = 0

    def credentials(_request: ReceivedRequest) -> Reply:
        expiration = (datetime.now(UTC) + timedelta(hours=1, seconds=ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Reply(
            200, json.dumps({"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c", "Expiration": expiration})
        )

    with answers_server() as server:
        server.answers["GET /credentials"] = credentials
        container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/credentials"}
        with initialized(stack, "IssueToken", **container) as process:
            assert not server.received
            process.warm(JWT_EVENT)
            assert len(server.received) == 1
            ahead = HOURS  # as the clock of the restored processes
            for fetches in (2, 3):
                assert process.restore(JWT_EVENT)[0]["statusCode"] == 200
                assert len(server.received) == fetches


KEY_SET = "GET /ms-auth-server/oauth2/jwks"


def _key_set(key_id: str = KID) -> Reply:
    return Reply(200, jwks(rsa_jwk(key_id)).decode())


def test_authorizer_fetches_its_keys_before_the_first_event(stack: Stack) -> None:
    with answers_server() as server:
        server.answers[KEY_SET] = _key_set()
        token = mint(claims(time.time(), iss=f"{server.url}/ms-auth-server"))
        with stack.start("Authorizer", server.url) as authorizer:
            assert len(server.received) == 1
            assert authorizer.invoke(recorded("rest_request", token)).kind == "response"
        assert len(server.received) == 1


def test_restored_authorizer_revalidates_its_key_set(stack: Stack) -> None:
    issuer_claims: Mapping[str, Any] = claims(time.time(), exp=int(time.time()) + 2 * HOURS)
    with answers_server() as server:
        server.answers[KEY_SET] = _key_set()
        event = recorded("rest_request", mint({**issuer_claims, "iss": f"{server.url}/ms-auth-server"}))
        with initialized(stack, "Authorizer", server.url, **ACCESS_KEYS) as process:
            assert not server.received
            process.warm(event)
            assert len(server.received) == 1
            for monotonic in (HOURS, -HOURS):
                (response,) = process.restore(event, monotonic=monotonic)
                assert response["policyDocument"]["Statement"][0]["Effect"] == "Allow"
            assert len(server.received) == 3
            server.answers[KEY_SET] = _key_set("another-key")
            assert process.restore(event) == ["Unauthorized"]
