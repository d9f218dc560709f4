"""Storage errors for what boto3 raises."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError

from functions.shared.storage.errors import AwsFailure, StorageError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
