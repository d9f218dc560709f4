"""The clients table, and a cache of it."""

import time
from collections.abc import Mapping
from typing import Any, Protocol

from authorizer.aws import Aws
from authorizer.clock import Clocks

from ..lambda_function import Clock
from ..storage.aws_calls import call
from ..storage.errors import StorageCorruptError, StorageUnavailableError
from ..storage.storage_cache import RecordCache
from .client import Client, from_item, is_client_id, to_item

FRESH_SECONDS = 30
STALE_SECONDS = 120
"""Seconds for which a cached client is used while the table is unavailable.

A disabled client is accepted until then.
"""

MAX_CACHED_CLIENTS = 1024

RELOADS_A_SECOND = 10
"""Limit per process and second, once for known clients and once for unknown ids."""


class ClientRegistry(Protocol):
    """Finds clients by id."""

    def find(self, client_id: str) -> Client | None:
        """Return the client, disabled or not, or None."""

    def find_again(self, client_id: str, since: float) -> Client | None:
        """Return the client, reloaded unless it was loaded after `since`, the start of the request.

        A client is reloaded at most once a second.

        Raises:
            StorageUnavailableError: only an older record is cached, and it cannot be reloaded.
        """


class DynamoDbClients:
    """Clients in a DynamoDB table keyed by `client_id`."""

    def __init__(self, aws: Aws, table: str) -> None:
        self._aws = aws
        self._table = table

    def find(self, client_id: str) -> Client | None:
        """Return the client or None. Strings that cannot be a client_id are not looked up.

        The read is consistent. A stale item would be cached. It would accept a deleted client, or
        reject a new one, for longer than the cache lifetime.
        """
        if not is_client_id(client_id):
            return None
        key = {"client_id": {"S": client_id}}
        answer = call(self._aws, "dynamodb", "GetItem", TableName=self._table, Key=key, ConsistentRead=True)
        item = answer.get("Item")
        return None if item is None else _named(client_id, item)

    def find_again(self, client_id: str, since: float) -> Client | None:
        """Return the client or None."""
        return self.find(client_id)

    def put(self, client: Client) -> None:
        """Store a client, replacing the one with the same id."""
        call(self._aws, "dynamodb", "PutItem", TableName=self._table, Item=to_item(client))


def _named(client_id: str, item: Mapping[str, Any]) -> Client:
    """Read a client; an error names it."""
    try:
        return from_item(item)
    except StorageCorruptError as error:
        reason = f"client {client_id}: {error.reason}"
        raise StorageCorruptError(reason=reason) from error.__cause__


class CachedClients:
    """Caches clients and unknown ids for 30 seconds.

    While the table is unavailable, a cached client is used until it is two minutes old. Unknown ids are not.

    Before a cached record rejects a request, it is reloaded. The limits are once a second for each client, ten times
    for all clients, and as often for unknown ids. Guesses therefore cannot cause unlimited reads.
    """

    def __init__(self, registry: ClientRegistry, clock: Clock, monotonic: Clock = time.monotonic) -> None:
        self._clients: RecordCache[Client] = RecordCache(
            registry.find,
            self._permit,
            Clocks(clock, monotonic),
            fresh_for=FRESH_SECONDS,
            stale_for=STALE_SECONDS,
            max_entries=MAX_CACHED_CLIENTS,
        )
        # Separate, so that a flood of unknown ids does not use up the reloads for rotated secrets.
        self._known_reloads = Allowance(clock)
        self._unknown_reloads = Allowance(clock)

    def find(self, client_id: str) -> Client | None:
        """Return the client or None, up to 30 seconds old, or 2 minutes during an outage."""
        return self._clients.find(client_id) if is_client_id(client_id) else None

    def find_again(self, client_id: str, since: float) -> Client | None:
        """Return the client or None, reloaded at most once a second unless it was loaded after `since`."""
        return self._clients.find_again(client_id, since) if is_client_id(client_id) else None

    def _permit(self, is_unknown: bool) -> bool:
        (self._unknown_reloads if is_unknown else self._known_reloads).spend()
        return True


class Allowance:
    """A limit of reloads per second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = float("-inf")
        self._spent = 0

    def spend(self) -> None:
        """Count one reload.

        Raises:
            StorageUnavailableError: the limit is exceeded in this second.
        """
        now = self._clock()
        if not 0 <= now - self._second < 1:
            self._second, self._spent = now, 0
        if self._spent >= RELOADS_A_SECOND:
            raise StorageUnavailableError(reason="too many clients were read again just now")
        self._spent += 1
