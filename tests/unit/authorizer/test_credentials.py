"""Introspection credentials, against moto's Secrets Manager."""

from collections.abc import Iterator
from math import inf

import boto3
import pytest
from moto import mock_aws
from mypy_boto3_secretsmanager import SecretsManagerClient

from authorizer.aws_client import AwsClient
from authorizer.clock import Deadline
from authorizer.errors import IntrospectionError, Reason
from authorizer.introspection import Credentials, SecretsManagerCredentials, fixed_credentials
from tests.support.aws import moto_url

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


def _secret(client: SecretsManagerClient, text: str) -> str:
    return client.create_secret(Name="introspection", SecretString=text)["ARN"]


def test_fixed_credentials_never_change() -> None:
    source = fixed_credentials("id", "secret")
    assert source(False, SOON) == source(True, SOON) == Credentials("id", "secret")


def test_secret_is_fetched_once_until_refresh(secrets_manager: SecretsManagerClient) -> None:
    arn = _secret(secrets_manager, '{"client_id":"a","client_secret":"one"}')
    source = SecretsManagerCredentials(arn, AwsClient(3))
    assert source(False, SOON) == Credentials("a", "one")
    secrets_manager.put_secret_value(SecretId=arn, SecretString='{"client_id":"a","client_secret":"two"}')
    assert source(False, SOON) == Credentials("a", "one")
    assert source(True, SOON) == Credentials("a", "two")
    assert source(False, SOON) == Credentials("a", "two")


@pytest.mark.parametrize("text", ["secret", "[]", "{}", '{"client_id":"a"}', '{"client_id":1,"client_secret":"b"}'])
def test_malformed_secret_is_an_internal_error(secrets_manager: SecretsManagerClient, text: str) -> None:
    source = SecretsManagerCredentials(_secret(secrets_manager, text), AwsClient(3))
    with pytest.raises(IntrospectionError) as failure:
        source(False, SOON)
    assert failure.value.reason is Reason.INTROSPECTION_CREDENTIALS


@pytest.mark.usefixtures("secrets_manager")
def test_missing_secret_is_an_internal_error() -> None:
    with pytest.raises(IntrospectionError) as failure:
        SecretsManagerCredentials("missing", AwsClient(3))(False, SOON)
    assert failure.value.reason is Reason.INTROSPECTION_CREDENTIALS


def test_binary_secret_is_an_internal_error(secrets_manager: SecretsManagerClient) -> None:
    arn = secrets_manager.create_secret(Name="binary", SecretBinary=b"x")["ARN"]
    with pytest.raises(IntrospectionError):
        SecretsManagerCredentials(arn, AwsClient(3))(False, SOON)
