"""What holds for the authorizer's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest
from hypothesis import settings

from tests.support.aws import aws_account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ssm import SSMClient

# A busy machine is no reason to fail.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoDBClient]:
    """A DynamoDB with the authorization server's tables, empty."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with aws_account(monkeypatch) as aws:
        yield aws.dynamodb


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Iterator[SSMClient]:
    """A Systems Manager without parameters."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with aws_account(monkeypatch):
        yield boto3.client("ssm")
