"""Responses to callers when AWS throttles, hangs, denies or is unreachable."""

from __future__ import annotations

import json
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from threading import Barrier
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from functions.introspect_token import handler as introspect_token
from functions.introspect_token.handler import Settings as IntrospectTokenSettings
from functions.issue_token import handler as issue_token
from functions.issue_token.handler import Settings as IssueTokenSettings
from functions.publish_jwks import handler as publish_jwks
from functions.publish_jwks.handler import Settings as PublishJwksSettings
from functions.rotate_keys import handler as rotate_keys
from functions.rotate_keys.settings import Settings as RotateKeysSettings
from functions.shared.clients.client import TokenFormat
from functions.shared.clients.client_registry import STALE_SECONDS as CLIENT_STALE_SECONDS
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.keys.warm_key_ring import STALE_SECONDS
from functions.shared.runtime.aws_clients import ATTEMPTS, AwsClients
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.runtime.warm_cache import PAUSE_SECONDS
from tests.support.aws import (
    CLIENTS_TABLE,
    CREDENTIALS,
    ENVIRONMENT,
    KEY_RING_SECRET,
    SIGNING_KEYS_SECRET,
)
from tests.support.dpop_proofs import proof
from tests.support.memory_stores import ManualClock
from tests.support.proxy_events import basic, form_event, proxy_event, token_event
from tests.support.server import NOW, SECRET, client, generate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_dynamodb import DynamoDBClient

    from functions.shared.web.endpoint import Endpoint
    from functions.shared.web.responses import ProxyResponse

JWT_REQUEST = token_event({"grant_type": "client_credentials"}, headers=basic("a", SECRET))
OPAQUE_REQUEST = token_event({"grant_type": "client_credentials"}, headers=basic("o", SECRET))
INTROSPECTION = form_event(
    "/oauth2/introspect", {"token": "gh_at_" + "x" * 43}, headers=basic("a", SECRET)
)


def _with_proof() -> dict[str, Any]:
    return token_event(
        {"grant_type": "client_credentials"}, headers={**basic("a", SECRET), "DPoP": proof()}
    )


PROOF_REQUEST = _with_proof()
KEY_SET = proxy_event("GET", "/oauth2/jwks")


class Account:
    """An account whose operations are counted and can be made to fail, all or in one place."""

    def __init__(self, aws: AwsClients) -> None:
        self.aws = aws
        self.calls: Counter[str] = Counter()
        self.failures: dict[str, tuple[int, str] | bytes | Exception] = {}
        self.loses_answer_to: str | None = None
        self.reached: DynamoDBClient = boto3.client("dynamodb")
        for service_client in (aws.dynamodb, aws.secrets_manager):
            # The stubs have hooks return nothing; an answer returned here is the answer.
            hook: Any = self._before_send
            service_client.meta.events.register_first("before-send", hook)
        self.log: list[str] = []
        self.clock = ManualClock(NOW)

    def _before_send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        operation = _operation(request)
        body: Any = request.body
        sent = json.loads(body)
        self.calls[operation] += 1
        if operation == self.loses_answer_to:
            self.loses_answer_to = None
            self.reached.put_item(**sent)
            return _error(request, 500, "InternalServerError")
        place = sent.get("SecretId") or sent.get("TableName")
        failure = self.failures.get(operation, self.failures.get(f"{operation} {place}"))
        if isinstance(failure, Exception):
            raise failure
        if isinstance(failure, bytes):
            return _answer(request, 200, failure)
        return _error(request, *failure) if failure else None

    def token_endpoint(self) -> Endpoint:
        settings = IssueTokenSettings.from_env(ENVIRONMENT)
        return issue_token.build(settings, clock=self.clock, aws=self.aws, emit=self.log.append)

    def introspection_endpoint(self) -> Endpoint:
        settings = IntrospectTokenSettings.from_env(ENVIRONMENT)
        return introspect_token.build(
            settings, clock=self.clock, aws=self.aws, emit=self.log.append
        )

    def jwks_endpoint(self) -> Endpoint:
        settings = PublishJwksSettings.from_env(ENVIRONMENT)
        return publish_jwks.build(settings, clock=self.clock, aws=self.aws, emit=self.log.append)


def _error(request: AWSPreparedRequest, status: int, code: str) -> AWSResponse:
    content = json.dumps({"__type": code, "message": "table arn:aws:x"})
    return _answer(request, status, content.encode())


def _answer(request: AWSPreparedRequest, status: int, content: bytes) -> AWSResponse:
    return AWSResponse(request.url, status, {}, _Body(content))  # type: ignore[arg-type]


def _operation(request: AWSPreparedRequest) -> str:
    target = request.headers["X-Amz-Target"]
    return (target.decode() if isinstance(target, bytes) else target).partition(".")[2]


class _Body:
    """As much of a raw HTTP body as botocore reads."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._content


@pytest.fixture
def account(aws: AwsClients, no_pauses: None) -> Account:
    clients = DynamoDbClients(aws.dynamodb, CLIENTS_TABLE)
    clients.put(client("a"))
    clients.put(client("o", token_format=TokenFormat.OPAQUE))
    rotate_keys.build(
        RotateKeysSettings.from_env(ENVIRONMENT),
        clock=ManualClock(NOW),
        secrets=SecretsManagerStore(aws.secrets_manager),
        generate=generate,
    ).run()
    return Account(aws)


@dataclass(frozen=True)
class Dependency:
    """An operation that an endpoint cannot do without, and a request that needs it."""

    endpoint: Callable[[Account], Endpoint]
    event: dict[str, Any]
    operation: str


DEPENDENCIES = {
    "client registry": Dependency(Account.token_endpoint, JWT_REQUEST, "GetItem"),
    "key ring": Dependency(Account.token_endpoint, JWT_REQUEST, "GetSecretValue"),
    "opaque token kept": Dependency(Account.token_endpoint, OPAQUE_REQUEST, "PutItem"),
    "proof used": Dependency(Account.token_endpoint, PROOF_REQUEST, "PutItem"),
    "opaque token found": Dependency(Account.introspection_endpoint, INTROSPECTION, "GetItem"),
    "key set": Dependency(Account.jwks_endpoint, KEY_SET, "GetSecretValue"),
}


def _assert_comes_back_later(answer: ProxyResponse) -> None:
    assert answer["statusCode"] == 503
    assert answer["headers"]["Retry-After"] == "1"
    assert json.loads(answer["body"])["error"] == "temporarily_unavailable"
    assert "arn:" not in answer["body"]


@pytest.mark.parametrize("dependency", DEPENDENCIES.values(), ids=DEPENDENCIES)
def test_throttling_is_503_with_retry_after(account: Account, dependency: Dependency) -> None:
    endpoint = dependency.endpoint(account)
    account.failures[dependency.operation] = (400, "ThrottlingException")
    _assert_comes_back_later(endpoint(dependency.event))
    line = json.loads(account.log[-1])
    assert line["outcome"] == "temporarily_unavailable"
    assert line["reason"] == f"{dependency.operation}: ThrottlingException"
    assert account.calls[dependency.operation] == 2


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ProvisionedThroughputExceededException"),
        (400, "TransactionConflictException"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
    ],
)
def test_other_temporary_errors_are_503(account: Account, status: int, code: str) -> None:
    endpoint = account.token_endpoint()
    account.failures["GetItem"] = (status, code)
    _assert_comes_back_later(endpoint(JWT_REQUEST))
    assert json.loads(account.log[-1])["reason"] == f"GetItem: {code}"


@pytest.mark.parametrize("content", [b"", b"<html></html>", b'{"Item": {"client'])
@pytest.mark.parametrize("dependency", DEPENDENCIES.values(), ids=DEPENDENCIES)
def test_unreadable_200_is_not_an_empty_result(
    account: Account, dependency: Dependency, content: bytes
) -> None:
    endpoint = dependency.endpoint(account)
    account.failures[dependency.operation] = content
    _assert_comes_back_later(endpoint(dependency.event))


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"]
)
def test_denied_access_or_missing_table_is_a_server_error(account: Account, code: str) -> None:
    endpoint = account.token_endpoint()
    account.failures["GetItem"] = (400, code)
    answer = endpoint(JWT_REQUEST)
    assert answer["statusCode"] == 500
    assert json.loads(answer["body"])["error"] == "server_error"
    assert "arn:" not in answer["body"] + account.log[-1]
    assert json.loads(account.log[-1])["reason"] == f"GetItem: {code}"


def test_next_request_after_a_failure_succeeds(account: Account) -> None:
    endpoint = account.token_endpoint()
    account.failures["GetItem"] = (503, "ServiceUnavailable")
    _assert_comes_back_later(endpoint(JWT_REQUEST))
    del account.failures["GetItem"]
    assert endpoint(JWT_REQUEST)["statusCode"] == 200


def test_cached_client_costs_no_storage_call(account: Account) -> None:
    endpoint = account.token_endpoint()
    endpoint(JWT_REQUEST)
    account.calls.clear()
    for _ in range(20):
        assert endpoint(JWT_REQUEST)["statusCode"] == 200
    assert not account.calls


def test_warm_process_reloads_after_thirty_seconds(account: Account) -> None:
    endpoint = account.token_endpoint()
    endpoint(JWT_REQUEST)
    account.calls.clear()
    account.clock.now += 30
    endpoint(JWT_REQUEST)
    assert account.calls == {"GetItem": 1, "GetSecretValue": 1}


THROTTLED = (400, "ThrottlingException")
NO_ANSWER = ReadTimeoutError(endpoint_url="https://x.amazonaws.com")
CANNOT_BE_ASKED: Final[tuple[tuple[int, str] | Exception, ...]] = (
    THROTTLED,
    (429, "TooManyRequestsException"),
    (500, "InternalServiceError"),
    (503, "ServiceUnavailable"),
    EndpointConnectionError(endpoint_url="https://x.amazonaws.com"),
    ConnectTimeoutError(endpoint_url="https://x.amazonaws.com"),
    NO_ANSWER,
)
ANSWERS = ("AccessDeniedException", "DecryptionFailure", "ResourceNotFoundException")


@dataclass(frozen=True)
class Remembered:
    """Cached data that a warm process uses during an outage, and for how long."""

    dependency: Dependency
    seconds: int


REMEMBERED = {
    "client registry": Remembered(DEPENDENCIES["client registry"], CLIENT_STALE_SECONDS),
    "key ring": Remembered(DEPENDENCIES["key ring"], STALE_SECONDS),
    "key set": Remembered(DEPENDENCIES["key set"], STALE_SECONDS),
}


@pytest.mark.parametrize("remembered", REMEMBERED.values(), ids=REMEMBERED)
def test_warm_process_bridges_an_outage(account: Account, remembered: Remembered) -> None:
    dependency = remembered.dependency
    endpoint = dependency.endpoint(account)
    assert endpoint(dependency.event)["statusCode"] == 200
    ages = range(30, remembered.seconds, PAUSE_SECONDS)
    assert len(ages) > len(CANNOT_BE_ASKED)
    for age, failure in zip(ages, cycle(CANNOT_BE_ASKED), strict=False):
        account.clock.now = NOW + age
        account.failures[dependency.operation] = failure
        assert endpoint(dependency.event)["statusCode"] == 200
    account.clock.now = NOW + remembered.seconds
    _assert_comes_back_later(endpoint(dependency.event))
    account.failures.clear()
    assert endpoint(dependency.event)["statusCode"] == 200


@pytest.mark.parametrize("remembered", REMEMBERED.values(), ids=REMEMBERED)
def test_storage_response_replaces_the_cache(account: Account, remembered: Remembered) -> None:
    dependency = remembered.dependency
    for code in ANSWERS:
        account.failures.clear()
        endpoint = dependency.endpoint(account)
        assert endpoint(dependency.event)["statusCode"] == 200
        account.clock.now += 30
        account.failures[dependency.operation] = (400, code)
        assert endpoint(dependency.event)["statusCode"] == 500
        account.failures[dependency.operation] = THROTTLED
        _assert_comes_back_later(endpoint(dependency.event))


def test_malformed_ring_replaces_a_cached_one(account: Account) -> None:
    token_endpoint, jwks_endpoint = account.token_endpoint(), account.jwks_endpoint()
    assert token_endpoint(JWT_REQUEST)["statusCode"] == 200
    assert jwks_endpoint(KEY_SET)["statusCode"] == 200
    SecretsManagerStore(account.aws.secrets_manager).write(KEY_RING_SECRET, "{}")
    account.clock.now += 30
    assert token_endpoint(JWT_REQUEST)["statusCode"] == 500
    assert jwks_endpoint(KEY_SET)["statusCode"] == 500


def test_disabled_client_stays_rejected_in_an_outage(
    account: Account,
) -> None:
    endpoint = account.token_endpoint()
    clients = DynamoDbClients(account.aws.dynamodb, CLIENTS_TABLE)
    for event in (JWT_REQUEST, OPAQUE_REQUEST):
        assert endpoint(event)["statusCode"] == 200
    clients.put(client("a", disabled=True))
    account.aws.dynamodb.delete_item(TableName=CLIENTS_TABLE, Key={"client_id": {"S": "o"}})
    account.clock.now += 30
    for event in (JWT_REQUEST, OPAQUE_REQUEST):
        assert endpoint(event)["statusCode"] == 401
    account.failures["GetItem"] = THROTTLED
    # They may have been enabled or registered again since, and the table cannot be read.
    for seconds in (29, 30):
        account.clock.now += seconds
        for event in (JWT_REQUEST, OPAQUE_REQUEST):
            assert endpoint(event)["statusCode"] == 503


def test_outage_is_retried_every_ten_seconds(account: Account) -> None:
    endpoint = account.token_endpoint()
    endpoint(JWT_REQUEST)
    account.failures["GetSecretValue"] = NO_ANSWER
    account.clock.now += 30
    account.calls.clear()
    for _ in range(PAUSE_SECONDS):
        assert endpoint(JWT_REQUEST)["statusCode"] == 200
        account.clock.now += 1
    assert account.calls == {"GetItem": 1, "GetSecretValue": ATTEMPTS}


def test_opaque_token_costs_one_storage_call(account: Account) -> None:
    endpoint = account.token_endpoint()
    endpoint(OPAQUE_REQUEST)
    account.calls.clear()
    endpoint(OPAQUE_REQUEST)
    assert account.calls == {"PutItem": 1}


def test_unknown_client_flood_costs_one_lookup(account: Account) -> None:
    endpoint = account.token_endpoint()
    stranger = token_event({"grant_type": "client_credentials"}, headers=basic("x", "y"))
    for _ in range(5):
        assert endpoint(stranger)["statusCode"] == 401
    assert account.calls == {"GetItem": 1, "UpdateItem": 10}


def test_blocked_source_costs_no_storage_call(account: Account) -> None:
    endpoint = account.token_endpoint()
    wrong = token_event({"grant_type": "client_credentials"}, headers=basic("a", "wrong"))
    while endpoint(wrong)["statusCode"] != 429:
        account.calls.clear()
    account.calls.clear()
    assert endpoint(wrong)["statusCode"] == 429
    assert not account.calls


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ThrottlingException", (429, "slow_down")),
        ("AccessDeniedException", (401, "invalid_client")),
    ],
)
def test_uncounted_wrong_secret_is_rejected(
    account: Account, code: str, expected: tuple[int, str]
) -> None:
    endpoint = account.token_endpoint()
    account.failures["UpdateItem"] = (400, code)
    wrong = token_event({"grant_type": "client_credentials"}, headers=basic("a", "wrong"))
    for number in range(20):
        answer = endpoint(wrong)
        assert (answer["statusCode"], json.loads(answer["body"])["error"]) == expected
        if number == 0:
            assert json.loads(account.log[-1])["not_counted"] == f"UpdateItem: {code}"


def test_unwritable_secret_use_fails_nothing(account: Account) -> None:
    endpoint = account.token_endpoint()
    account.failures["UpdateItem"] = (400, "ThrottlingException")
    assert endpoint(JWT_REQUEST)["statusCode"] == 200
    account.calls.clear()
    assert endpoint(JWT_REQUEST)["statusCode"] == 200
    assert not account.calls


def test_lost_response_does_not_reject_a_proof(
    account: Account,
) -> None:
    endpoint = account.token_endpoint()
    account.loses_answer_to = "PutItem"
    event = _with_proof()
    assert endpoint(event)["statusCode"] == 200
    assert account.calls["PutItem"] == 2
    answer = endpoint(event)
    assert json.loads(answer["body"])["error"] == "invalid_dpop_proof"


def test_internal_failure_consumes_the_proof(account: Account) -> None:
    endpoint, event = account.token_endpoint(), _with_proof()
    account.failures[f"GetSecretValue {SIGNING_KEYS_SECRET}"] = (400, "ThrottlingException")
    _assert_comes_back_later(endpoint(event))
    account.failures.clear()
    assert json.loads(endpoint(event)["body"])["error"] == "invalid_dpop_proof"
    assert endpoint(_with_proof())["statusCode"] == 200


def test_cold_environments_make_few_calls(account: Account) -> None:
    endpoints, together = [account.token_endpoint() for _ in range(20)], Barrier(20)

    def ask(endpoint: Endpoint) -> int:
        together.wait()
        return endpoint(JWT_REQUEST)["statusCode"]

    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(ask, endpoints)) == {200}
    assert account.calls == {"GetItem": 20, "GetSecretValue": 40, "UpdateItem": 20}


def test_cold_burst_costs_one_call_per_process(account: Account) -> None:
    endpoint, together = account.token_endpoint(), Barrier(4)

    def ask(_: int) -> int:
        together.wait()
        return endpoint(JWT_REQUEST)["statusCode"]

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(ask, range(4))) == {200}
    assert account.calls == {"GetItem": 1, "GetSecretValue": 2, "UpdateItem": 1}


class UnreachableAws(AwsClients):
    """AWS at a local address, with short timeouts."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.patience = Config(
            connect_timeout=0.2, read_timeout=0.2, retries={"total_max_attempts": 1}
        )

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        return boto3.client("dynamodb", config=self.patience, endpoint_url=self.address)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("listening", [False, True], ids=["nothing listens", "nobody answers"])
def test_aws_timeout_is_503(*, listening: bool) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        if not listening:
            server.close()
        log: list[str] = []
        endpoint = issue_token.build(
            IssueTokenSettings.from_env(ENVIRONMENT),
            clock=ManualClock(NOW),
            aws=UnreachableAws(port),
            emit=log.append,
        )
        _assert_comes_back_later(endpoint(JWT_REQUEST))
        reason = json.loads(log[-1])["reason"]
        trouble = "ReadTimeoutError" if listening else "EndpointConnectionError"
        assert reason == f"{trouble}: 127.0.0.1"
