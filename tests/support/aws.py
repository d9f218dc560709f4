"""An AWS account to test in: moto's, with the tables and secrets of template.yaml."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

import boto3
from moto import mock_aws
from moto.server import ThreadedMotoServer

from authorizer.aws import AwsError
from authorizer.aws_client import AwsClient
from functions.shared.storage.aws_calls import CALL_SECONDS
from functions.shared.storage.boto3_client import Boto3
from local.emulated_aws import make_writes_atomic
from tests.support.aws_faults import FaultProxy

if TYPE_CHECKING:  # the environment of `make bench` does not have these
    import pytest
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

CLIENTS_TABLE = "clients"
TRUST_TABLE = "trust"
TOKENS_TABLE = "tokens"
STATE_TABLE = "state"
KEY_RING_SECRET = "key-ring"
SIGNING_KEYS_SECRET = "signing-keys"
DPOP_NONCE_SECRET = "dpop-nonce"
TABLES = {
    CLIENTS_TABLE: ("client_id",),
    TRUST_TABLE: ("issuer", "entry"),
    TOKENS_TABLE: ("token_digest",),
    STATE_TABLE: ("entry",),
}
"""Each table and its key."""
ISSUER = "http://localhost:8085/ms-auth-server"

ENVIRONMENT = {
    "ISSUER": ISSUER,
    "CLIENTS_TABLE": CLIENTS_TABLE,
    "TRUST_TABLE": TRUST_TABLE,
    "TOKENS_TABLE": TOKENS_TABLE,
    "STATE_TABLE": STATE_TABLE,
    "KEY_RING_SECRET": KEY_RING_SECRET,
    "SIGNING_KEYS_SECRET": SIGNING_KEYS_SECRET,
    "DPOP_NONCE_SECRET": DPOP_NONCE_SECRET,
}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "eu-west-1"}


def create_tables(dynamodb: DynamoDBClient) -> None:
    """Create the tables of the template."""
    for table, key in TABLES.items():
        dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in key],
            KeySchema=[
                {"AttributeName": name, "KeyType": "RANGE" if number else "HASH"} for number, name in enumerate(key)
            ],
        )


class AwsAccount(Boto3):
    """AWS through boto3, the clients behind these calls, and `requests` for functions that answer requests.

    The calls of `requests` pass `proxy`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.proxy = FaultProxy()
        self.requests = AwsClient(CALL_SECONDS, send=self.proxy.send, sleep=lambda _: None)

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


@cache
def _session() -> boto3.Session:
    """Return a session for all accounts of this process: it reads the models of AWS's services once."""
    return boto3.Session()


@contextmanager
def aws_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsAccount]:
    """Provide clients to an account with empty tables and secrets that have no value yet."""
    make_writes_atomic()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", _session())
        aws = AwsAccount()
        create_tables(aws.dynamodb)
        for secret in (KEY_RING_SECRET, SIGNING_KEYS_SECRET):
            aws.secrets_manager.create_secret(Name=secret)
        aws.secrets_manager.create_secret(Name=DPOP_NONCE_SECRET, SecretString="n" * 64)
        yield aws


@cache
def moto_url() -> str:
    """Serve this process's account over HTTP, for clients other than boto3's, and return the address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = AwsClient(60, attempts=1, environ={**CREDENTIALS, "AWS_ENDPOINT_URL": url})
    # moto imports a service at its first request, which takes longer than a client of the tests waits.
    for service, operation in (("dynamodb", "GetItem"), ("secretsmanager", "GetSecretValue"), ("ssm", "GetParameter")):
        with suppress(AwsError):
            client.call(service, operation, TableName="none", Key={"a": {"S": "a"}}, SecretId="none", Name="/none")
    return url
