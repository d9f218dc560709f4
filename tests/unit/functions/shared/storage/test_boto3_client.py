"""Calls of AWS, on moto: operations and values as in the service's JSON, and blobs as bytes."""

from datetime import datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws
from mypy_boto3_dynamodb import DynamoDBClient

from authorizer.aws import AwsError
from authorizer.clock import Deadline
from functions.shared.storage.boto3_client import Boto3
from tests.support.aws import CREDENTIALS
from tests.support.clock import ManualClock


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Boto3:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return Boto3(3)


@mock_aws
def test_blobs_are_bytes_and_times_are_numbers(aws: Boto3) -> None:
    spec: dict[str, Any] = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
    key = aws.call("kms", "CreateKey", Deadline(3), **spec)["KeyMetadata"]["KeyId"]
    message: dict[str, Any] = {"Message": b"text", "MessageType": "RAW", "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = aws.call("kms", "Sign", Deadline(3), KeyId=key, **message)["Signature"]
    assert isinstance(signature, bytes)
    assert aws.call("kms", "Verify", KeyId=key, Signature=signature, **message)["SignatureValid"]
    described = aws.call("kms", "DescribeKey", KeyId=key)
    created = boto3.client("kms").describe_key(KeyId=key)["KeyMetadata"]["CreationDate"]
    assert isinstance(created, datetime)
    assert described["KeyMetadata"]["CreationDate"] == created.timestamp()
    assert described.keys() == {"KeyMetadata"}


@mock_aws
def test_binary_attribute_is_bytes(aws: Boto3) -> None:
    schema = {"AttributeName": "key", "KeyType": "HASH"}, {"AttributeName": "key", "AttributeType": "B"}
    aws.call(
        "dynamodb",
        "CreateTable",
        TableName="t",
        KeySchema=[schema[0]],
        AttributeDefinitions=[schema[1]],
        BillingMode="PAY_PER_REQUEST",
    )
    item = {"key": {"B": b"\xff"}, "all": {"L": [{"BS": [b"\x00"]}, {"N": "1"}]}}
    aws.call("dynamodb", "PutItem", TableName="t", Item=item)
    assert aws.call("dynamodb", "GetItem", TableName="t", Key={"key": {"B": b"\xff"}})["Item"] == item


@mock_aws
def test_error_has_the_operation_and_the_code(aws: Boto3) -> None:
    with pytest.raises(AwsError) as rejected:
        aws.call("secretsmanager", "GetSecretValue", Deadline(3), SecretId="none")
    assert (rejected.value.operation, rejected.value.code) == ("GetSecretValue", "ResourceNotFoundException")
    assert rejected.value.reason == "GetSecretValue: ResourceNotFoundException"


@pytest.mark.usefixtures("aws")
def test_aws_client_is_reused_within_its_timeout() -> None:
    calls = Boto3(3, 1, 1)
    clients = {id(_client(calls, 2.99 - spent / 200)) for spent in range(100)}
    assert len(clients) == 1
    assert _client(calls, 4) is _client(calls, 10) is calls._client("dynamodb", None)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("seconds", [10, 3.1, 2, 1, 0.4])
def test_call_uses_most_of_the_time(seconds: float) -> None:
    timeout = _timeout(_client(Boto3(3, 1, 1), seconds))
    assert min(3, seconds) * 0.74 <= timeout <= min(3, seconds)


@pytest.mark.usefixtures("aws")
def test_expired_deadline_gets_the_shortest_timeout() -> None:
    assert 0 < _timeout(_client(Boto3(3, 1, 1), 0)) < 1


def _client(calls: Boto3, seconds: float) -> DynamoDBClient:
    clock = ManualClock()
    client: DynamoDBClient = calls._client("dynamodb", Deadline(seconds, clock))
    return client


def _timeout(client: DynamoDBClient) -> float:
    """Return the timeout of a call, for connecting and reading together."""
    config: Any = client.meta.config
    return float(config.connect_timeout + config.read_timeout)
