"""Where clients are kept, and the warm cache in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from functions.shared.aws_clients import aws_errors
from functions.shared.client_record import Client, from_item, is_client_id, to_item
from functions.shared.warm_cache import WarmCache

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from functions.shared.clock import Clock

WARM_SECONDS: Final = 30
MAX_WARM_CLIENTS: Final = 1024


class ClientRegistry(Protocol):
    """Finds clients by id."""

    def find(self, client_id: str) -> Client | None:
        """Return the client, disabled or not, or None."""


class ClientStore(ClientRegistry, Protocol):
    """A registry that can be written to."""

    def put(self, client: Client) -> None:
        """Keep a client, in place of the one with the same id."""


class DynamoDbClients:
    """Clients in a DynamoDB table keyed by `client_id`."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def find(self, client_id: str) -> Client | None:
        """Return the client or None, asking the table only for what can be an id."""
        if not is_client_id(client_id):
            return None
        with aws_errors():
            answer = self._dynamodb.get_item(
                TableName=self._table, Key={"client_id": {"S": client_id}}
            )
        item = answer.get("Item")
        return from_item(item) if item else None

    def put(self, client: Client) -> None:
        """Keep a client, in place of the one with the same id."""
        with aws_errors():
            self._dynamodb.put_item(TableName=self._table, Item=to_item(client))


class WarmClients:
    """Remembers what a registry answered, "unknown" included, for at most 30 seconds.

    A flood of unknown ids cannot push out the known ones: each costs its sender one scrypt, so that
    fewer than `MAX_WARM_CLIENTS` of them fit into the 30 seconds.
    """

    def __init__(self, registry: ClientRegistry, clock: Clock) -> None:
        self._answers = WarmCache(
            registry.find, clock=clock, max_age=WARM_SECONDS, max_entries=MAX_WARM_CLIENTS
        )

    def find(self, client_id: str) -> Client | None:
        """Return the client or None, perhaps as it was up to 30 seconds ago."""
        return self._answers.get(client_id)
