"""An AWS account to test in: moto's, with the tables and secrets of template.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from moto import mock_aws

from authorizer.aws import Boto3
from functions.shared.storage.aws import ATTEMPT_SECONDS, ATTEMPTS, CONNECT_SECONDS
from local.moto_server import make_writes_atomic

if TYPE_CHECKING:  # the environment of `make bench` does not have these
    import pytest
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

CLIENTS_TABLE: Final = "clients"
TOKENS_TABLE: Final = "tokens"
STATE_TABLE: Final = "state"
KEY_RING_SECRET: Final = "key-ring"
SIGNING_KEYS_SECRET: Final = "signing-keys"
DPOP_NONCE_SECRET: Final = "dpop-nonce"
TABLES: Final = {CLIENTS_TABLE: "client_id", TOKENS_TABLE: "token_digest", STATE_TABLE: "entry"}
"""Each table and its key."""
ISSUER: Final = "http://localhost:8085/ms-auth-server"

ENVIRONMENT: Final = {
    "ISSUER": ISSUER,
    "CLIENTS_TABLE": CLIENTS_TABLE,
    "TOKENS_TABLE": TOKENS_TABLE,
    "STATE_TABLE": STATE_TABLE,
    "KEY_RING_SECRET": KEY_RING_SECRET,
    "SIGNING_KEYS_SECRET": SIGNING_KEYS_SECRET,
    "DPOP_NONCE_SECRET": DPOP_NONCE_SECRET,
}
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-west-1",
}


def create_tables(dynamodb: DynamoDBClient) -> None:
    """Create the tables of the template."""
    for table, key in TABLES.items():
        dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        )


class AwsAccount(Boto3):
    """AWS as functions call it, and the boto3 clients behind these calls."""

    def __init__(self, timeout: float = ATTEMPT_SECONDS, connect: float = CONNECT_SECONDS) -> None:
        super().__init__(timeout, connect=connect, attempts=ATTEMPTS)

    @property
    def dynamodb(self) -> DynamoDBClient:
        client: DynamoDBClient = self._client("dynamodb", None)
        return client

    @property
    def secrets_manager(self) -> SecretsManagerClient:
        client: SecretsManagerClient = self._client("secretsmanager", None)
        return client

    @property
    def kms(self) -> KMSClient:
        client: KMSClient = self._client("kms", None)
        return client


@contextmanager
def aws_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsAccount]:
    """Provide clients to an account with empty tables and secrets that have no value yet."""
    make_writes_atomic()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        aws = AwsAccount()
        create_tables(aws.dynamodb)
        for secret in (KEY_RING_SECRET, SIGNING_KEYS_SECRET):
            aws.secrets_manager.create_secret(Name=secret)
        aws.secrets_manager.create_secret(Name=DPOP_NONCE_SECRET, SecretString="n" * 64)
        yield aws
