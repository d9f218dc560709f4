"""AWS clients with short time-outs and checked responses, and storage errors for boto3's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError

from authorizer.aws import check_responses
from functions.shared.storage.errors import AwsFailure, StorageError, StorageUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient


# At most six seconds: after two calls without a response, a function with a time-out of fifteen
# seconds can still return 503.
CONNECT_SECONDS: Final = 1
READ_SECONDS: Final = 2
ATTEMPTS: Final = 2

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


# Codes that boto3 retries, and conflicts between writes.
_TEMPORARY = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionCanceledException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_TOO_MANY_REQUESTS = 429
_SERVER_SIDE = 500


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
    """Return what boto3 raised as a storage error."""
    if isinstance(error, ClientError):
        return _from_client_error(error)
    name = type(error).__name__
    endpoint = error.kwargs.get("endpoint_url") or ""
    failure = AwsFailure(name, str(error), endpoint=endpoint)
    host = urlsplit(endpoint).hostname
    if isinstance(error, HTTPClientError | AwsConnectionError):
        return StorageUnavailableError(f"{name}: {host}" if host else name, failure=failure)
    return StorageError(name, failure=failure)


def _from_client_error(error: ClientError) -> StorageError:
    fault = error.response.get("Error", {})
    code = fault.get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    failure = AwsFailure(code, fault.get("Message", ""), error.operation_name)
    is_temporary = code in _TEMPORARY or status == _TOO_MANY_REQUESTS
    kind = StorageUnavailableError if is_temporary or status >= _SERVER_SIDE else StorageError
    return kind(f"{error.operation_name}: {code}", failure=failure)
