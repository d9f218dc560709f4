"""AWS clients with short time-outs and checked responses, and storage errors for boto3's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from authorizer.aws import AwsUnavailableError, check_responses, to_aws_error
from functions.shared.storage.errors import StorageError, StorageUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient


# At most six seconds: after two calls without a response, a function with a time-out of fifteen
# seconds can still return 503.
CONNECT_SECONDS = 1
READ_SECONDS = 2
ATTEMPTS = 2

_CONFIG = Config(
    connect_timeout=CONNECT_SECONDS,
    read_timeout=READ_SECONDS,
    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    tcp_keepalive=True,
)


class AwsClients:
    """Clients of the AWS services, each created at its first use."""

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """DynamoDB: clients, opaque tokens, and the state table."""
        return check_responses(boto3.client("dynamodb", config=_CONFIG))

    @cached_property
    def secrets_manager(self) -> SecretsManagerClient:
        """Secrets Manager: the key ring, private keys, and the DPoP nonce secret."""
        return check_responses(boto3.client("secretsmanager", config=_CONFIG))

    @cached_property
    def kms(self) -> KMSClient:
        """KMS: private keys that never leave it."""
        return check_responses(boto3.client("kms", config=_CONFIG))


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what boto3 raises into a storage error, with the original as its cause.

    Raises:
        StorageUnavailableError: throttled, timed out, unreachable, an internal failure of AWS, or a
            response that cannot be read.
        StorageError: anything else, such as a denied access or a missing table.
    """
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise to_storage_error(error) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # botocore's parser, or a member that is missing.
        raise StorageUnavailableError("the response cannot be read") from error


def to_storage_error(error: BotoCoreError | ClientError) -> StorageError:
    """Return an exception of boto3 as a storage error."""
    failure = to_aws_error(error)
    is_temporary = isinstance(failure, AwsUnavailableError)
    kind = StorageUnavailableError if is_temporary else StorageError
    return kind(failure.reason, failure=failure)
