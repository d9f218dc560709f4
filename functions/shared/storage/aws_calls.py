"""Calls of AWS by the functions: their time budget, and storage errors in place of AWS's.

Functions that answer requests use the client of `make_aws`, everything else uses `boto3_client.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from authorizer.aws import Aws, AwsError, AwsUnavailableError
from authorizer.aws_client import AwsClient
from authorizer.clock import Deadline

from .errors import StorageError, StorageUnavailableError

CALL_SECONDS = 7
"""Two calls without a response still leave time for a 503 within the time-out of 15 s."""


def make_aws() -> Aws:
    """Return the client of a function that answers requests: it imports no boto3."""
    return AwsClient(CALL_SECONDS)


def call(aws: Aws, service: str, operation: str, **parameters: object) -> dict[str, Any]:
    """Call an operation and return its response, as `Aws.call` does.

    Raises:
        StorageUnavailableError: throttled, timed out, unreachable, an internal failure of AWS, or a
            response that cannot be read.
        StorageError: anything else, such as a denied access or a missing table.
    """
    with storage_errors():
        return aws.call(service, operation, call_deadline(), **parameters)


def call_deadline() -> Deadline:
    """Return the time budget of a call that starts now."""
    return Deadline(CALL_SECONDS)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn an error of AWS into a storage error. Raises what `call` raises."""
    try:
        yield
    except AwsError as error:
        kind = StorageUnavailableError if isinstance(error, AwsUnavailableError) else StorageError
        raise kind(error.reason, failure=error) from error


@contextmanager
def ignoring(*codes: str) -> Iterator[None]:
    """Ignore the errors of AWS with these codes."""
    try:
        yield
    except StorageError as error:
        if error.code not in codes:
            raise
