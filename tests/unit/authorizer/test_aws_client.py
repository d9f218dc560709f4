"""Both clients of AWS: the same calls have the same results, errors and log texts on moto."""

import base64
import json
import sys
import traceback
from collections.abc import Iterator
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from authorizer.aws import Aws, AwsError, AwsUnavailableError
from authorizer.aws_client import AwsClient
from authorizer.clock import Deadline
from authorizer.errors import InvalidTokenError
from authorizer.https_client import HttpExchangeError, Request, Response, Send
from authorizer.state_table import DynamoDbReplayStore, StateTable
from functions.shared.storage.boto3_client import Boto3
from tests.support.answers_server import Reply, answers_server
from tests.support.aws import CREDENTIALS, DPOP_NONCE_SECRET, STATE_TABLE, aws_account
from tests.support.aws_faults import THROTTLED, TIMED_OUT, Fault, FaultProxy
from tests.support.byte_server import CLOSE, HANG, ByteServer, ScriptedServer, http_response
from tests.support.clock import ManualClock
from tests.support.tokens import NOW


def client_of(send: Send, **changes: Any) -> AwsClient:
    """Return a client whose requests the test answers."""
    parts: dict[str, Any] = {"environ": CREDENTIALS, "sleep": lambda _: None, "jitter": lambda: 0.5, **changes}
    return AwsClient(3, send=send, **parts)


class Account:
    """An account, the client that calls it, and the fault proxy between them."""

    def __init__(self, kind: str, session: boto3.Session) -> None:
        self.proxy = FaultProxy()
        self.sleeps: list[float] = []
        self.clock = ManualClock()
        if kind == "boto3":
            session.events.register_first("before-send", cast("Any", self.proxy))
            self.aws: Aws = Boto3(3, 1, 1)
        else:
            self.aws = self.client(attempts=1)

    def client(self, attempts: int = 2, **changes: Any) -> AwsClient:
        parts: dict[str, Any] = {
            "send": self.proxy.send,
            "clock": self.clock,
            "sleep": self.sleeps.append,
            "jitter": lambda: 0.5,
            **changes,
        }
        return AwsClient(3, attempts=attempts, **parts)

    def get(self, entry: str, aws: Aws | None = None) -> dict[str, Any]:
        return (aws or self.aws).call("dynamodb", "GetItem", TableName=STATE_TABLE, Key={"entry": {"S": entry}})


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with aws_account(monkeypatch):
        made = boto3.Session()
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", made)
        yield made


@pytest.fixture(params=["boto3", "https"])
def account(request: pytest.FixtureRequest, session: boto3.Session) -> Account:
    return Account(request.param, session)


@pytest.fixture
def ours(session: boto3.Session) -> Account:
    return Account("https", session)


ITEM = {
    "entry": {"S": "all"},
    "number": {"N": "-1.5"},
    "bytes": {"B": b"\x00\xff"},
    "map": {"M": {"list": {"L": [{"BOOL": True}, {"NULL": True}, {"S": ""}]}}},
    "texts": {"SS": ["é", "ü"]},
    "numbers": {"NS": ["1"]},
    "blobs": {"BS": [b"\x01"]},
}


def test_items_of_all_types_are_the_same_after_a_round_trip(account: Account) -> None:
    account.aws.call("dynamodb", "PutItem", TableName=STATE_TABLE, Item=ITEM)
    found = account.get("all")["Item"]
    found["texts"]["SS"].sort()
    assert found == ITEM
    assert "Item" not in account.get("none")


def test_item_is_updated_queried_and_deleted(account: Account) -> None:
    key: dict[str, Any] = {"TableName": STATE_TABLE, "Key": {"entry": {"S": "one"}}}
    for color in ("red", "blue"):
        update = {"UpdateExpression": "SET color = :color", "ExpressionAttributeValues": {":color": {"S": color}}}
        response = account.aws.call("dynamodb", "UpdateItem", None, **key, **update, ReturnValues="UPDATED_NEW")
        assert response["Attributes"]["color"] == {"S": color}
    values = {":entry": {"S": "one"}}
    query: dict[str, Any] = {"KeyConditionExpression": "entry = :entry", "ExpressionAttributeValues": values}
    response = account.aws.call("dynamodb", "Query", TableName=STATE_TABLE, **query)
    assert response["Items"] == [{"entry": {"S": "one"}, "color": {"S": "blue"}}]
    assert response["Count"] == 1
    account.aws.call("dynamodb", "DeleteItem", **key)
    assert "Item" not in account.get("one")
    assert account.aws.call("dynamodb", "Query", TableName=STATE_TABLE, **query)["Items"] == []


def test_secret_is_read(account: Account) -> None:
    response = account.aws.call("secretsmanager", "GetSecretValue", SecretId=DPOP_NONCE_SECRET)
    assert response["SecretString"] == "n" * 64
    assert isinstance(response["CreatedDate"], float | int)


def test_parameter_is_read(account: Account) -> None:
    boto3.client("ssm").put_parameter(Name="/a/b", Value="välue", Type="String")
    assert account.aws.call("ssm", "GetParameter", Name="/a/b")["Parameter"]["Value"] == "välue"


def test_message_is_signed_with_a_key_of_kms(account: Account) -> None:
    key = boto3.client("kms").create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
    sign: dict[str, Any] = {
        "KeyId": key,
        "Message": b"\xff message",
        "MessageType": "RAW",
        "SigningAlgorithm": "ECDSA_SHA_256",
    }
    signature = account.aws.call("kms", "Sign", **sign)["Signature"]
    public_key = load_der_public_key(account.aws.call("kms", "GetPublicKey", KeyId=key)["PublicKey"])
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    public_key.verify(signature, b"\xff message", ec.ECDSA(SHA256()))


def test_rejection_has_the_code_of_aws(account: Account) -> None:
    new = {"Item": {"entry": {"S": "a"}}, "ConditionExpression": "attribute_exists(entry)"}
    calls: list[tuple[str, str, dict[str, Any], str]] = [
        ("dynamodb", "GetItem", {"TableName": "none", "Key": {"entry": {"S": "a"}}}, "ResourceNotFoundException"),
        ("dynamodb", "GetItem", {"TableName": STATE_TABLE, "Key": {"other": {"S": "a"}}}, "ValidationException"),
        ("dynamodb", "PutItem", {"TableName": STATE_TABLE, **new}, "ConditionalCheckFailedException"),
        ("secretsmanager", "GetSecretValue", {"SecretId": "none"}, "ResourceNotFoundException"),
        ("kms", "GetPublicKey", {"KeyId": "none"}, "NotFoundException"),
        ("ssm", "GetParameter", {"Name": "/none"}, "ParameterNotFound"),
    ]
    for service, operation, parameters, code in calls:
        with pytest.raises(AwsError) as error:
            account.aws.call(service, operation, **parameters)
        assert (error.value.code, error.value.operation) == (code, operation)
        assert error.value.reason == str(error.value) == f"{operation}: {code}"
        assert error.value.message
        assert not isinstance(error.value, AwsUnavailableError)
    assert account.proxy.calls.total() == len(calls)


ENDPOINT = "https://dynamodb.eu-west-1.amazonaws.com"
FAULTS: list[tuple[Fault, str]] = [
    (THROTTLED, "GetItem: ThrottlingException"),
    ((400, "com.amazonaws.dynamodb.v20120810#RequestLimitExceeded"), "GetItem: RequestLimitExceeded"),
    ((400, "TransactionConflictException:http://x/"), "GetItem: TransactionConflictException"),
    ((429, "Unheard"), "GetItem: Unheard"),
    ((500, "InternalServerError"), "GetItem: InternalServerError"),
    ((503, "ServiceUnavailable"), "GetItem: ServiceUnavailable"),
    (EndpointConnectionError(endpoint_url=ENDPOINT), "EndpointConnectionError"),
    (ConnectTimeoutError(endpoint_url=ENDPOINT), "ConnectTimeoutError"),
    (TIMED_OUT, "ReadTimeoutError"),
]
UNREADABLE = [b"", b"<html>", b"{}", b"[]", b"null", b'{"Item": {', b"\xff", b"[" * 10_000]


def test_failure_is_unavailable(account: Account) -> None:
    for fault, reason in FAULTS:
        account.proxy.faults["GetItem"] = fault
        with pytest.raises(AwsUnavailableError) as error:
            account.get("a")
        assert error.value.reason.partition(": dyn")[0].partition(": x.")[0] == reason
    account.proxy.faults.clear()
    account.get("a")


def test_unreadable_success_is_unavailable(account: Account) -> None:
    for body in UNREADABLE:
        account.proxy.faults["GetItem"] = body
        with pytest.raises(AwsUnavailableError):
            account.get("a")
    assert account.proxy.calls["GetItem"] == len(UNREADABLE)


@pytest.mark.parametrize(("status", "code"), [(502, AwsUnavailableError), (404, AwsError)])
def test_error_without_a_code_has_the_status(
    account: Account, monkeypatch: pytest.MonkeyPatch, status: int, code: type[AwsError]
) -> None:
    with answers_server() as server:
        server.answers["POST /"] = Reply(status, "<html>busy</html>")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # without the fault proxy
        client = AwsClient(3, attempts=1) if isinstance(account.aws, AwsClient) else Boto3(3, 1, 1)
        with pytest.raises(AwsError) as error:
            account.get("a", client)
    assert error.value.reason == f"GetItem: {status}"
    assert type(error.value) is code


@pytest.mark.parametrize("code", [None, ["a"], "", "a b", 'a", "x": "', "line\nbreak", "a" * 101, "é"])
def test_code_that_is_not_one_of_aws_is_not_logged(code: object) -> None:
    def send(request: Request) -> Response:
        return Response(503, {}, json.dumps({"__type": code}).encode())

    with pytest.raises(AwsUnavailableError) as error:
        client_of(send, attempts=1).call("dynamodb", "GetItem")
    assert error.value.reason == "GetItem: 503"


@pytest.mark.parametrize("name", ["AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"])
def test_missing_setting_is_an_error(account: Account, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    if name == "AWS_ACCESS_KEY_ID":
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    client = AwsClient(3) if isinstance(account.aws, AwsClient) else Boto3(3, 1, 1)
    with pytest.raises(AwsError) as error:
        account.get("a", client)
    assert error.value.reason == {"AWS_DEFAULT_REGION": "NoRegionError"}.get(name, "NoCredentialsError")
    assert not isinstance(error.value, AwsUnavailableError)


def test_lost_response_does_not_make_a_first_use_a_replay(ours: Account) -> None:
    store = DynamoDbReplayStore(StateTable(STATE_TABLE, ours.client()))
    ours.proxy.lose_response("PutItem")
    store.consume("jkt", "jti", NOW + 9, NOW, Deadline(3))
    assert ours.proxy.calls["PutItem"] == 2
    with pytest.raises(InvalidTokenError):
        store.consume("jkt", "jti", NOW + 9, NOW, Deadline(3))


def test_temporary_failure_is_retried_after_a_random_pause(ours: Account) -> None:
    faults: list[Fault] = [THROTTLED, (500, "InternalServerError"), TIMED_OUT]
    for fault in faults:
        ours.proxy.faults["GetItem"] = fault
        with pytest.raises(AwsUnavailableError):
            ours.get("a", ours.client(attempts=3))
    assert ours.proxy.calls["GetItem"] == 3 * 3
    assert ours.sleeps == [0.05, 0.1] * 3


@pytest.mark.parametrize("damage", [{"x-amz-crc32": "1"}, {}], ids=["checksum", "cut"])
def test_damaged_response_is_retried(damage: dict[str, str]) -> None:
    body = b'{"ConsumedCapacity": {"TableName": "x"}}'
    responses = [Response(200, damage, body if damage else body[:-1]), Response(200, {}, body)]
    client = client_of(lambda _: responses.pop(0))
    assert client.call("dynamodb", "GetItem") == {"ConsumedCapacity": {"TableName": "x"}}
    assert responses == []


def test_rejection_is_not_retried() -> None:
    responses = [Response(400, {}, b'{"__type": "AccessDeniedException"}')]
    with pytest.raises(AwsError, match="AccessDeniedException"):
        client_of(lambda _: responses.pop(0)).call("dynamodb", "GetItem")


def test_attempts_share_the_time_that_is_left() -> None:
    monotonic = ManualClock()
    given: list[float] = []

    def send(request: Request) -> Response:
        given.append(request.deadline.remaining())
        monotonic.advance(request.deadline.remaining())
        raise HttpExchangeError("late") from TimeoutError()

    client = client_of(send, attempts=3, monotonic=monotonic, sleep=monotonic.advance)
    with pytest.raises(AwsUnavailableError, match="ReadTimeoutError: dynamodb"):
        client.call("dynamodb", "GetItem", Deadline(2.4, monotonic))
    assert given == pytest.approx([0.8, 0.775, 0.675])  # less pauses of 0.05 and 0.1


def test_no_attempt_begins_after_the_deadline() -> None:
    monotonic = ManualClock()

    def send(request: Request) -> Response:
        monotonic.advance(3)
        raise HttpExchangeError("reset") from ConnectionResetError()

    client = client_of(send, monotonic=monotonic)
    started = monotonic.now
    with pytest.raises(AwsUnavailableError, match="ConnectionClosedError"):
        client.call("dynamodb", "GetItem", Deadline(2, monotonic))
    assert monotonic.now - started == 3


SKEWED = json.dumps({"__type": "com.amazon.coral.service#InvalidSignatureException", "message": "token: t0ken"})


def test_wrong_clock_is_corrected_once() -> None:
    dates: list[str] = []

    def send(request: Request) -> Response:
        dates.append(request.headers["x-amz-date"])
        if dates[-1].startswith("20231114T2313"):
            return Response(200, {}, b'{"ConsumedCapacity": {"TableName": "x"}}')
        return Response(400, {"date": "Tue, 14 Nov 2023 23:13:20 GMT"}, SKEWED.encode())

    client = client_of(send, attempts=1, clock=lambda: 1_700_000_000)
    for _ in range(2):
        assert client.call("dynamodb", "GetItem") == {"ConsumedCapacity": {"TableName": "x"}}
    assert dates == ["20231114T221320Z", "20231114T231320Z", "20231114T231320Z"]


def test_clock_of_one_service_is_not_that_of_others() -> None:
    dates: list[str] = []

    def send(request: Request) -> Response:
        dates.append(request.headers["x-amz-date"])
        if request.headers["x-amz-target"].endswith("GetItem"):
            return Response(200, {}, b'{"ConsumedCapacity": {"TableName": "x"}}')
        return Response(400, {"date": "Fri, 31 Dec 9999 23:59:59 GMT"}, SKEWED.encode())

    client = client_of(send, clock=lambda: 1_700_000_000)
    with pytest.raises(AwsError, match="Sign: InvalidSignatureException"):
        client.call("kms", "Sign")
    client.call("dynamodb", "GetItem")
    assert dates == ["20231114T221320Z", "99991231T235959Z", "20231114T221320Z"]


@pytest.mark.parametrize(
    "headers",
    [
        {"date": "Tue, 14 Nov 2023 22:13:50 GMT"},
        {"date": "now"},
        {"date": f"Tue, 14 Nov {10**30} 22:13:50 GMT"},
        {"date": f"Tue, 14 Nov 2023 22:13:50 +{10**18}"},
        {},
    ],
)
def test_wrong_signature_at_the_right_time_is_an_error(headers: dict[str, str]) -> None:
    sent: list[Request] = []

    def send(request: Request) -> Response:
        sent.append(request)
        return Response(400, headers, SKEWED.encode())

    with pytest.raises(AwsError) as error:
        client_of(send, clock=lambda: 1_700_000_000).call("dynamodb", "GetItem")
    assert error.value.reason == "GetItem: InvalidSignatureException"
    assert error.value.message == ""  # AWS's message contains the session token
    assert len(sent) == 1


def test_expired_container_credentials_are_fetched_again() -> None:
    keys = iter(("old", "new"))
    signed: list[str] = []

    def send(request: Request) -> Response:
        if request.method == "GET":
            members = {"AccessKeyId": next(keys), "SecretAccessKey": "s", "Token": "t", "Expiration": "2100"}
            return Response(200, {}, json.dumps(members).encode())
        signed.append(request.headers["authorization"])
        if "old" in signed[-1]:
            return Response(400, {}, b'{"__type": "ExpiredTokenException"}')
        return Response(200, {}, b'{"ConsumedCapacity": {"TableName": "x"}}')

    environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost/", "AWS_REGION": "eu-west-1"}
    client_of(send, environ=environ).call("dynamodb", "GetItem")
    assert [header.split("/")[0].partition("=")[2] for header in signed] == ["old", "new"]


def test_request_is_a_signed_post() -> None:
    sent: list[Request] = []

    def send(request: Request) -> Response:
        sent.append(request)
        return Response(200, {}, b'{"Signature": "c2ln"}')

    environ = {**CREDENTIALS, "AWS_SESSION_TOKEN": "t0ken"}
    client = client_of(send, environ=environ, clock=lambda: 1_700_000_000)
    assert client.call("kms", "Sign", KeyId="k", Message=b"\xff")["Signature"] == b"sig"
    (request,) = sent
    assert (request.method, request.url) == ("POST", "https://kms.eu-west-1.amazonaws.com/")
    assert json.loads(request.body) == {"KeyId": "k", "Message": base64.b64encode(b"\xff").decode()}
    assert request.headers.pop("authorization").startswith(  # type: ignore[attr-defined]
        "AWS4-HMAC-SHA256 Credential=testing/20231114/eu-west-1/kms/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature="
    )
    assert request.headers == {
        "content-type": "application/x-amz-json-1.1",
        "host": "kms.eu-west-1.amazonaws.com",
        "x-amz-date": "20231114T221320Z",
        "x-amz-security-token": "t0ken",
        "x-amz-target": "TrentService.Sign",
    }


@pytest.mark.parametrize(
    ("operation", "key", "defect"), [("Scan", {}, KeyError), ("GetItem", {1, 2}, TypeError)], ids=["Scan", "a set"]
)
def test_unsupported_call_is_a_defect(operation: str, key: object, defect: type[Exception]) -> None:
    with pytest.raises(defect, match=r"Scan|set in the parameters"):
        client_of(lambda _: Response(200, {}, b"")).call("dynamodb", operation, Key=key)


def test_call_raises_an_audit_event(ours: Account) -> None:
    seen: list[tuple[object, ...]] = []
    sys.addaudithook(lambda name, arguments: seen.append(arguments) if name == "gatehouse.aws.call" else None)
    ours.get("audited")
    assert seen == [("dynamodb", "GetItem", {"TableName": STATE_TABLE, "Key": {"entry": {"S": "audited"}}})]


FOUND = http_response(b'{"ConsumedCapacity": {"TableName": "x"}, "Item": {"entry": {"S": "a"}}}')


@pytest.mark.parametrize(
    ("scripts", "requests"),
    [
        ([[FOUND, FOUND]], 2),
        ([[FOUND, CLOSE], [FOUND]], 2),
        ([[FOUND, HANG, CLOSE], [FOUND]], 3),
        ([[FOUND[:-9], CLOSE], [FOUND, FOUND]], 3),
        ([[HANG, CLOSE], [FOUND, FOUND]], 3),
        ([[HANG], [FOUND, FOUND]], 3),
    ],
    ids=["kept open", "closed while idle", "closed by the request", "cut", "lost", "late"],
)
def test_lost_connection_is_replaced(scripts: list[list[bytes]], requests: int) -> None:
    """Over real connections, and with the time-out of the attempt for the response that never comes."""
    with ScriptedServer(*scripts) as server:
        environ = {**CREDENTIALS, "AWS_ENDPOINT_URL": server.url}
        client = AwsClient(2, environ=environ, sleep=lambda _: None)
        for _ in range(2):
            response = client.call("dynamodb", "GetItem", TableName="t", Key={"entry": {"S": "a"}})
            assert response["Item"] == {"entry": {"S": "a"}}
        assert len(server.requests) == requests


def test_slow_response_ends_at_the_deadline() -> None:
    with ByteServer(FOUND, pause=0.02) as server:
        environ = {**CREDENTIALS, "AWS_ENDPOINT_URL": server.url.partition("/jwks")[0]}
        with pytest.raises(AwsUnavailableError, match=r"ReadTimeoutError: 127\.0\.0\.1"):
            AwsClient(0.2, attempts=1, environ=environ).call("dynamodb", "GetItem")


@pytest.mark.parametrize("path", ["", "/", "/aws", "/aws/"])
def test_endpoint_may_have_a_path(path: str) -> None:
    with ScriptedServer([FOUND]) as server:
        environ = {**CREDENTIALS, "AWS_ENDPOINT_URL": server.url.rstrip("/") + path}
        AwsClient(2, environ=environ).call("dynamodb", "GetItem")
    expected = f"POST {path.rstrip('/')}/ HTTP/1.1\r\n"
    assert server.requests[0].startswith(expected.encode())
    assert f"host: {server.url[7:-1]}\r\n".encode() in server.requests[0]


def test_malformed_credentials_are_in_no_error() -> None:
    environ = {**CREDENTIALS, "AWS_SESSION_TOKEN": "t0ken\r\nX: y", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    with ScriptedServer([FOUND]) as server, pytest.raises(AwsError) as error:
        AwsClient(1, attempts=1, environ={**environ, "AWS_ENDPOINT_URL": server.url}).call("kms", "Sign")
    assert "t0ken" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_undecodable_credential_is_an_error(name: str) -> None:
    """As Python reads a variable that is not UTF-8."""
    with pytest.raises(AwsError, match="MalformedCredentialsError") as error:
        AwsClient(1, environ={**CREDENTIALS, name: "s3cret\udcff"}).call("kms", "Sign")
    assert "s3cret" not in repr(error.value.__cause__)
