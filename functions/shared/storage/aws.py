"""Calls of AWS by the functions: their time budget, and storage errors in place of AWS's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from authorizer.aws import Aws, AwsError, AwsUnavailableError, Boto3
from authorizer.clock import Deadline
from functions.shared.storage.errors import StorageError, StorageUnavailableError

CONNECT_SECONDS = 1
ATTEMPT_SECONDS = 3
ATTEMPTS = 2
CALL_SECONDS = 7
"""Two attempts, and boto3's pause of at most a second between them.

After two calls without a response, a function with a time-out of fifteen seconds can still return
503.
"""


def make_aws() -> Aws:
    """Return AWS for a function."""
    return Boto3(ATTEMPT_SECONDS, connect=CONNECT_SECONDS, attempts=ATTEMPTS)


def call(aws: Aws, service: str, operation: str, **parameters: object) -> dict[str, Any]:
    """Call an operation and return its response, as `Aws.call` does.

    Raises:
        StorageUnavailableError: throttled, timed out, unreachable, an internal failure of AWS, or a
            response that cannot be read.
        StorageError: anything else, such as a denied access or a missing table.
    """
    try:
        return aws.call(service, operation, Deadline(CALL_SECONDS), **parameters)
    except AwsError as error:
        raise to_storage_error(error) from error


@contextmanager
def ignoring(*codes: str) -> Iterator[None]:
    """Ignore the errors of AWS with these codes."""
    try:
        yield
    except StorageError as error:
        if error.code not in codes:
            raise


def to_storage_error(failure: AwsError) -> StorageError:
    """Return an error of AWS as a storage error."""
    is_temporary = isinstance(failure, AwsUnavailableError)
    kind = StorageUnavailableError if is_temporary else StorageError
    return kind(failure.reason, failure=failure)
