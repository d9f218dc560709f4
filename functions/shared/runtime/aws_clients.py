"""boto3 clients with short time-outs, whose responses are checked."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config

from authorizer.aws import check_responses

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

# Six seconds at the most, so that two calls without an answer leave a function of fifteen seconds
# time to say 503.
CONNECT_SECONDS: Final = 1
READ_SECONDS: Final = 2
ATTEMPTS: Final = 2

_PATIENCE = Config(
    connect_timeout=CONNECT_SECONDS,
    read_timeout=READ_SECONDS,
    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    tcp_keepalive=True,
)


class AwsClients:
    """The AWS services that functions use, each client made when first asked for."""

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """DynamoDB: clients, opaque tokens, and the state that counts and expires."""
        return check_responses(boto3.client("dynamodb", config=_PATIENCE))

    @cached_property
    def secrets_manager(self) -> SecretsManagerClient:
        """Secrets Manager: the key ring, the private halves of its keys, the DPoP nonce secret."""
        return check_responses(boto3.client("secretsmanager", config=_PATIENCE))

    @cached_property
    def kms(self) -> KMSClient:
        """KMS: keys whose private halves never leave it."""
        return check_responses(boto3.client("kms", config=_PATIENCE))
