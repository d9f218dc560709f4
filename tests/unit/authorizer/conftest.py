"""Fixtures of the authorizer's tests."""

from collections.abc import Iterator

import boto3
import pytest
from mypy_boto3_dynamodb import DynamoDBClient
from mypy_boto3_ssm import SSMClient

from tests.support.answers_server import Reply, answers_server
from tests.support.aws import aws_account, moto_url


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoDBClient]:
    """DynamoDB with the authorization server's tables, empty."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with aws_account(monkeypatch) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url())
        yield aws.dynamodb


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Iterator[SSMClient]:
    """Systems Manager without parameters."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with aws_account(monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url())
        yield boto3.client("ssm")


@pytest.fixture(
    params=[Reply(200), Reply(200, "<html>"), Reply(200, '{"Item": {"entry"'), Reply(204), Reply(502)],
    ids=["nothing", "a page", "cut short", "no content", "a bad gateway"],
)
def no_aws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that responds instead of AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with answers_server() as server:
        server.answers["POST /"] = request.param
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield
