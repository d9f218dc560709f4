"""boto3 clients that keep a deadline.

boto3 takes longer to import than all the rest of us, and a plain JWT never needs it: whoever does
need it imports it here, on the time of the request that was the first to ask.
"""

from __future__ import annotations

from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

_SHORTEST_PATIENCE = 0.05  # botocore takes 0 for no timeout at all


def secrets_manager(seconds: float) -> SecretsManagerClient:
    """Return a Secrets Manager client whose calls end within so many seconds."""
    deadline = monotonic() + seconds
    import boto3  # noqa: PLC0415

    return boto3.client("secretsmanager", config=_patience(deadline))


def dynamodb(seconds: float) -> DynamoDBClient:
    """Return a DynamoDB client whose calls end within so many seconds."""
    deadline = monotonic() + seconds
    import boto3  # noqa: PLC0415

    return boto3.client("dynamodb", config=_patience(deadline))


class DynamoDb:
    """A DynamoDB client that is kept, and made anew for a request that has less time than that."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._kept: DynamoDBClient | None = None
        self._making = Lock()  # boto3's own session is not for several threads

    def client(self, seconds: float) -> DynamoDBClient:
        """Return a client whose calls end within so many seconds."""
        if self._kept is not None and seconds >= self._patience:
            return self._kept
        with self._making:
            if seconds < self._patience:
                return dynamodb(seconds)
            self._kept = self._kept or dynamodb(self._patience)
            return self._kept


def errors() -> tuple[type[Exception], ...]:
    """Return what boto3 raises when a service cannot be asked."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    return BotoCoreError, ClientError


def _patience(deadline: float) -> Config:
    """Share what is left of the time between connecting and reading; there is none to try again."""
    from botocore.config import Config  # noqa: PLC0415

    each = max((deadline - monotonic()) / 2, _SHORTEST_PATIENCE)
    return Config(connect_timeout=each, read_timeout=each, retries={"total_max_attempts": 1})
