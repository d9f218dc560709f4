"""Responses to callers while AWS throttles, stalls, rejects or cannot be reached."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle
from threading import Barrier
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

from authorizer.aws_client import AwsClient
from functions.introspect_token import handler as introspect_token
from functions.issue_token import handler as issue_token
from functions.publish_jwks import handler as publish_jwks
from functions.shared.clients.client import TokenFormat
from functions.shared.clients.client_registry import STALE_SECONDS as CLIENT_STALE_SECONDS
from functions.shared.keys.key_ring import STALE_SECONDS
from functions.shared.storage.storage_cache import PAUSE_SECONDS
from functions.shared.web.endpoint import Endpoint, ProxyResponse
from tests.support.aws import CLIENTS_TABLE, CREDENTIALS, KEY_RING_SECRET, SIGNING_KEYS_SECRET, AwsAccount
from tests.support.aws_faults import THROTTLED, TIMED_OUT, Fault, FaultProxy
from tests.support.aws_server import GRANT, AwsServer
from tests.support.clock import ManualClock
from tests.support.dpop_proofs import proof
from tests.support.proxy_events import basic, form_event, proxy_event, token_event
from tests.support.server import NOW, SECRET, client

JWT_REQUEST = token_event(GRANT, headers=basic("service", SECRET))
OPAQUE_REQUEST = token_event(GRANT, headers=basic("o", SECRET))
WRONG_SECRET = token_event(GRANT, headers=basic("service", "wrong"))
INTROSPECTION = form_event("/oauth2/introspect", {"token": "gh_at_" + "x" * 43}, headers=basic("service", SECRET))
KEY_SET = proxy_event("GET", "/oauth2/jwks")


def _with_proof() -> dict[str, Any]:
    return token_event(GRANT, headers={**basic("service", SECRET), "DPoP": proof()})


PROOF_REQUEST = _with_proof()


@pytest.fixture
def proxy(server: AwsServer, no_pauses: None) -> FaultProxy:
    server.clients.put(client("o", token_format=TokenFormat.OPAQUE))
    server.aws.proxy.calls.clear()
    return server.aws.proxy


@dataclass(frozen=True)
class Dependency:
    """An operation that a function depends on, a request that needs it, and its stale period."""

    function: ModuleType
    event: dict[str, Any]
    operation: str
    stale_for: int = 0


DEPENDENCIES = {
    "client registry": Dependency(issue_token, JWT_REQUEST, "GetItem", CLIENT_STALE_SECONDS),
    "key ring": Dependency(issue_token, JWT_REQUEST, "GetSecretValue", STALE_SECONDS),
    "opaque token stored": Dependency(issue_token, OPAQUE_REQUEST, "PutItem"),
    "proof used": Dependency(issue_token, PROOF_REQUEST, "PutItem"),
    "opaque token found": Dependency(introspect_token, INTROSPECTION, "GetItem"),
    "key set": Dependency(publish_jwks, KEY_SET, "GetSecretValue", STALE_SECONDS),
}
CACHED = {name: each for name, each in DEPENDENCIES.items() if each.stale_for}


def _assert_unavailable(answer: ProxyResponse) -> None:
    assert answer["statusCode"] == 503
    assert answer["headers"]["Retry-After"] == "1"
    assert json.loads(answer["body"])["error"] == "temporarily_unavailable"
    assert "arn:" not in answer["body"]


@pytest.mark.parametrize("dependency", DEPENDENCIES.values(), ids=DEPENDENCIES)
def test_throttling_is_503_with_retry_after(server: AwsServer, proxy: FaultProxy, dependency: Dependency) -> None:
    endpoint = server.build(dependency.function)
    proxy.faults[dependency.operation] = THROTTLED
    _assert_unavailable(endpoint(dependency.event))
    line = json.loads(server.log[-1])
    assert line["outcome"] == "temporarily_unavailable"
    assert line["reason"] == f"{dependency.operation}: ThrottlingException"
    assert proxy.calls[dependency.operation] == 2


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "ProvisionedThroughputExceededException", 503),
        (400, "TransactionConflictException", 503),
        (500, "InternalServerError", 503),
        (503, "ServiceUnavailable", 503),
        (400, "AccessDeniedException", 500),
        (400, "ResourceNotFoundException", 500),
        (400, "ValidationException", 500),
    ],
)
def test_error_of_aws_is_logged_and_not_sent(
    server: AwsServer, proxy: FaultProxy, status: int, code: str, expected: int
) -> None:
    proxy.faults["GetItem"] = (status, code)
    answer = server.token_endpoint(JWT_REQUEST)
    if expected == 503:
        _assert_unavailable(answer)
    else:
        assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (500, "server_error")
    assert "arn:" not in answer["body"] + server.log[-1]
    assert json.loads(server.log[-1])["reason"] == f"GetItem: {code}"
    proxy.faults.clear()
    assert server.status("service") == 200


@pytest.mark.parametrize("content", [b"", b"<html></html>", b'{"Item": {"client'])
@pytest.mark.parametrize("dependency", DEPENDENCIES.values(), ids=DEPENDENCIES)
def test_unreadable_200_is_not_an_empty_result(
    server: AwsServer, proxy: FaultProxy, dependency: Dependency, content: bytes
) -> None:
    endpoint = server.build(dependency.function)
    proxy.faults[dependency.operation] = content
    _assert_unavailable(endpoint(dependency.event))


@pytest.mark.parametrize(
    ("event", "seconds", "calls"),
    [(JWT_REQUEST, 0, {}), (JWT_REQUEST, 30, {"GetItem": 1, "GetSecretValue": 1}), (OPAQUE_REQUEST, 0, {"PutItem": 1})],
    ids=["cached", "older than thirty seconds", "opaque"],
)
def test_warm_process_makes_few_storage_calls(
    server: AwsServer, proxy: FaultProxy, event: dict[str, Any], seconds: int, calls: dict[str, int]
) -> None:
    server.token_endpoint(event)
    proxy.calls.clear()
    server.clock.now += seconds
    for _ in range(20 if not calls else 1):
        assert server.token_endpoint(event)["statusCode"] == 200
    assert proxy.calls == calls


UNAVAILABLE: tuple[Fault, ...] = (
    THROTTLED,
    (429, "TooManyRequestsException"),
    (500, "InternalServiceError"),
    (503, "ServiceUnavailable"),
    EndpointConnectionError(endpoint_url="https://x.amazonaws.com"),
    ConnectTimeoutError(endpoint_url="https://x.amazonaws.com"),
    TIMED_OUT,
)
DEFINITE = ("AccessDeniedException", "DecryptionFailure", "ResourceNotFoundException")


@pytest.mark.parametrize("dependency", CACHED.values(), ids=CACHED)
def test_warm_process_bridges_an_outage(server: AwsServer, proxy: FaultProxy, dependency: Dependency) -> None:
    endpoint, event = server.build(dependency.function), dependency.event
    assert endpoint(event)["statusCode"] == 200
    ages = range(30, dependency.stale_for, PAUSE_SECONDS)
    assert len(ages) > len(UNAVAILABLE)
    for age, fault in zip(ages, cycle(UNAVAILABLE), strict=False):
        server.clock.now = NOW + age
        proxy.faults[dependency.operation] = fault
        assert endpoint(event)["statusCode"] == 200
    server.clock.now = NOW + dependency.stale_for
    _assert_unavailable(endpoint(event))
    proxy.faults.clear()
    assert endpoint(event)["statusCode"] == 200


@pytest.mark.parametrize("dependency", CACHED.values(), ids=CACHED)
def test_definite_error_ends_the_stale_entry(server: AwsServer, proxy: FaultProxy, dependency: Dependency) -> None:
    for code in DEFINITE:
        proxy.faults.clear()
        endpoint = server.build(dependency.function)
        assert endpoint(dependency.event)["statusCode"] == 200
        server.clock.now += 30
        proxy.faults[dependency.operation] = (400, code)
        assert endpoint(dependency.event)["statusCode"] == 500
        proxy.faults[dependency.operation] = THROTTLED
        _assert_unavailable(endpoint(dependency.event))


def test_malformed_ring_replaces_a_cached_one(server: AwsServer) -> None:
    assert server.status("service") == 200
    assert server.jwks_endpoint(KEY_SET)["statusCode"] == 200
    server.secrets.write(KEY_RING_SECRET, "{}")
    server.clock.now += 30
    assert server.status("service") == 500
    assert server.jwks_endpoint(KEY_SET)["statusCode"] == 500


def test_disabled_client_stays_rejected_in_an_outage(server: AwsServer, proxy: FaultProxy) -> None:
    both = ("service", "o")
    assert [server.status(each) for each in both] == [200, 200]
    server.clients.put(client("service", disabled=True))
    server.aws.dynamodb.delete_item(TableName=CLIENTS_TABLE, Key={"client_id": {"S": "o"}})
    server.clock.now += 30
    assert [server.status(each) for each in both] == [401, 401]
    proxy.faults["GetItem"] = THROTTLED
    # They may have been enabled or registered again since, and the table cannot be read.
    for seconds in (29, 30):
        server.clock.now += seconds
        assert [server.status(each) for each in both] == [503, 503]


def test_outage_is_retried_every_ten_seconds(server: AwsServer, proxy: FaultProxy) -> None:
    server.token_endpoint(JWT_REQUEST)
    proxy.faults["GetSecretValue"] = TIMED_OUT
    server.clock.now += 30
    proxy.calls.clear()
    for _ in range(PAUSE_SECONDS):
        assert server.status("service") == 200
        server.clock.now += 1
    assert proxy.calls == {"GetItem": 1, "GetSecretValue": 2}


def test_wrong_secrets_cost_few_storage_calls(server: AwsServer, proxy: FaultProxy) -> None:
    assert [server.status("x", "y") for _ in range(5)] == [401] * 5
    assert proxy.calls == {"GetItem": 1, "UpdateItem": 10}
    while server.status("service", "wrong") != 429:
        pass
    proxy.calls.clear()
    assert server.status("service", "wrong") == 429
    assert not proxy.calls


@pytest.mark.parametrize(
    ("code", "expected"),
    [("ThrottlingException", (429, "slow_down")), ("AccessDeniedException", (401, "invalid_client"))],
)
def test_uncounted_wrong_secret_is_rejected(
    server: AwsServer, proxy: FaultProxy, code: str, expected: tuple[int, str]
) -> None:
    proxy.faults["UpdateItem"] = (400, code)
    for number in range(20):
        answer = server.token_endpoint(WRONG_SECRET)
        assert (answer["statusCode"], json.loads(answer["body"])["error"]) == expected
        if number == 0:
            assert json.loads(server.log[-1])["not_counted"] == f"UpdateItem: {code}"


def test_unwritable_secret_use_fails_nothing(server: AwsServer, proxy: FaultProxy) -> None:
    proxy.faults["UpdateItem"] = THROTTLED
    assert server.status("service") == 200
    proxy.calls.clear()
    assert server.status("service") == 200
    assert not proxy.calls


def test_lost_response_does_not_reject_a_proof(server: AwsServer, proxy: FaultProxy) -> None:
    proxy.lose_response("PutItem")
    event = _with_proof()
    assert server.token_endpoint(event)["statusCode"] == 200
    assert proxy.calls["PutItem"] == 2
    answer = server.token_endpoint(event)
    assert json.loads(answer["body"])["error"] == "invalid_dpop_proof"


def test_internal_failure_consumes_the_proof(server: AwsServer, proxy: FaultProxy) -> None:
    event = _with_proof()
    proxy.faults[f"GetSecretValue {SIGNING_KEYS_SECRET}"] = THROTTLED
    _assert_unavailable(server.token_endpoint(event))
    proxy.faults.clear()
    assert json.loads(server.token_endpoint(event)["body"])["error"] == "invalid_dpop_proof"
    assert server.token_endpoint(_with_proof())["statusCode"] == 200


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (20, {"GetItem": 20, "GetSecretValue": 40, "UpdateItem": 20}),
        (1, {"GetItem": 1, "GetSecretValue": 2, "UpdateItem": 1}),
    ],
)
def test_cold_burst_makes_few_calls_per_process(
    server: AwsServer, proxy: FaultProxy, processes: int, expected: dict[str, int]
) -> None:
    endpoints = [server.build(issue_token) for _ in range(processes)]
    requests = endpoints * max(1, 4 // processes)
    together = Barrier(len(requests))

    def send(endpoint: Endpoint) -> int:
        together.wait()
        return endpoint(JWT_REQUEST)["statusCode"]

    with ThreadPoolExecutor(len(requests)) as threads:
        assert set(threads.map(send, requests)) == {200}
    assert proxy.calls == expected


@pytest.mark.parametrize("listening", [False, True], ids=["no listener", "no response"])
def test_unreachable_aws_is_503(monkeypatch: pytest.MonkeyPatch, *, listening: bool) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    aws = AwsAccount()
    aws.requests = AwsClient(0.4, attempts=1)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        if not listening:
            listener.close()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        server = AwsServer(aws, ManualClock(NOW))
        _assert_unavailable(server.token_endpoint(JWT_REQUEST))
        reason = json.loads(server.log[-1])["reason"]
        error = "ReadTimeoutError" if listening else "EndpointConnectionError"
        assert reason == f"{error}: 127.0.0.1"
