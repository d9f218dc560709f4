"""Errors of the storage layer. Only an endpoint turns them into OAuth errors and HTTP.

StorageUnavailableError becomes 503, the others 500.
"""

from typing import ClassVar

from authorizer.aws import AwsError
from authorizer.metrics import Metric


class StorageError(Exception):
    """Raised when AWS refuses a call. `reason` is safe to log."""

    metrics: ClassVar[tuple[Metric, ...]] = ()
    """Metrics that count an error, in addition to the request's outcome."""

    def __init__(self, reason: str, *, failure: AwsError | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.failure = failure

    @property
    def code(self) -> str:
        """AWS's error code; empty if the error is not AWS's."""
        return self.failure.code if self.failure else ""


class StorageUnavailableError(StorageError):
    """Raised when storage cannot be reached just now. A retry may succeed."""


class StorageCorruptError(StorageError):
    """Raised when a stored record has another schema version or breaks its rules."""
