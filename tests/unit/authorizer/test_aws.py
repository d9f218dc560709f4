"""Calls of AWS, on moto: operations and values as in the service's JSON, and blobs as bytes."""

from datetime import datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws

from authorizer.aws import AwsError, Boto3
from authorizer.clock import Deadline
from tests.support.aws import CREDENTIALS


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
