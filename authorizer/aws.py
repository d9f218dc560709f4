"""boto3 clients that keep a deadline.

boto3 takes longer to import than all the rest of us, and a plain JWT never needs it: whoever does
need it imports it here, on the time of the request that was the first to ask.
"""

# ruff: noqa: PLC0415 - as it says above

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.config import Config
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_ssm import SSMClient

_Client = TypeVar("_Client")

_SHORTEST_PATIENCE = 0.05  # botocore takes 0 for no timeout at all


def secrets_manager(seconds: float) -> SecretsManagerClient:
    """Return a Secrets Manager client, for once, whose calls end within so many seconds."""
    deadline = monotonic() + seconds
    import boto3

    return boto3.client("secretsmanager", config=_patience(deadline - monotonic()))


class _Kept(ABC, Generic[_Client]):
    """Clients that are kept: one whose calls take `patience` seconds, one for half that, and so on.

    A client's patience is fixed when it is made, and what a request has left is never the same
    twice: each is given the most patient client that it has time for.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._clients: dict[float, _Client] = {}
        self._making = Lock()  # boto3's own session is not for several threads

    def client(self, seconds: float) -> _Client:
        """Return a client whose calls end within so many seconds."""
        deadline = monotonic() + seconds
        import boto3  # noqa: F401 - on this request's time, not on that of all to come

        with self._making:
            patience = self._patience
            left = max(deadline - monotonic(), _SHORTEST_PATIENCE)
            while patience > left:
                patience /= 2
            if patience not in self._clients:
                self._clients[patience] = self._make(_patience(patience))
            return self._clients[patience]

    @abstractmethod
    def _make(self, config: Config) -> _Client: ...


class DynamoDb(_Kept["DynamoDBClient"]):
    """DynamoDB clients."""

    def _make(self, config: Config) -> DynamoDBClient:
        import boto3

        return boto3.client("dynamodb", config=config)


class SystemsManager(_Kept["SSMClient"]):
    """Systems Manager clients."""

    def _make(self, config: Config) -> SSMClient:
        import boto3

        return boto3.client("ssm", config=config)


def is_answered(answer: Mapping[str, object]) -> bool:
    """Tell whether DynamoDB itself has answered, if it was asked for the capacity consumed.

    boto3 takes a 200 whose body it cannot read, be it cut short or a proxy's page, for an empty
    answer. That would mean that nothing was found, or that everything went well.
    """
    return "ConsumedCapacity" in answer


def errors() -> tuple[type[Exception], ...]:
    """Return what boto3 raises when a service cannot be asked."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def _patience(seconds: float) -> Config:
    """Share the time between connecting and reading; there is none to try again."""
    from botocore.config import Config

    each = max(seconds / 2, _SHORTEST_PATIENCE)
    return Config(connect_timeout=each, read_timeout=each, retries={"total_max_attempts": 1})
