"""Where clients are kept, and the warm cache in front of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from authorizer.recent import Recent
from functions.shared.clients.client_record import Client, from_item, is_client_id, to_item
from functions.shared.runtime.warm_cache import WarmCache
from functions.shared.storage.aws_errors import storage_errors
from functions.shared.storage.errors import StorageCorruptError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dynamodb import DynamoDBClient

    from functions.shared.runtime.clock import Clock

WARM_SECONDS: Final = 30
STALE_SECONDS: Final = 120
"""For how long a disabled client may come in through a process that cannot read the table."""

MAX_WARM_CLIENTS: Final = 1024

RELOADS_A_SECOND: Final = 10
"""How many known clients, and how many unknown ids, a process reads again because of rejections."""


class ClientRegistry(Protocol):
    """Finds clients by id."""

    def find(self, client_id: str) -> Client | None:
        """Return the client, disabled or not, or None."""

    def find_again(self, client_id: str, since: float) -> Client | None:
        """Return the client as it was at `since` or later, or at most a second before that.

        Raises:
            StorageUnavailableError: only an older record is cached, and it cannot be read now.
        """


class DynamoDbClients:
    """Clients in a DynamoDB table keyed by `client_id`."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def find(self, client_id: str) -> Client | None:
        """Return the client or None, asking the table only for what can be an id.

        The read is consistent: a warm process remembers the answer, and one that was stale already
        would let a client in for longer than that, or keep a new one out.
        """
        if not is_client_id(client_id):
            return None
        with storage_errors():
            answer = self._dynamodb.get_item(
                TableName=self._table, Key={"client_id": {"S": client_id}}, ConsistentRead=True
            )
        item = answer.get("Item")
        return None if item is None else _named(client_id, item)

    def find_again(self, client_id: str, since: float) -> Client | None:
        """Return the client or None."""
        return self.find(client_id)

    def put(self, client: Client) -> None:
        """Keep a client, in place of the one with the same id."""
        with storage_errors():
            self._dynamodb.put_item(TableName=self._table, Item=to_item(client))


def _named(client_id: str, item: Mapping[str, Any]) -> Client:
    """Read a client, and say which one cannot be read."""
    try:
        return from_item(item)
    except StorageCorruptError as error:
        reason = f"client {client_id}: {error.reason}"
        raise StorageCorruptError(reason=reason) from error.__cause__


class WarmClients:
    """Remembers what a registry answered, "unknown" included, for at most 30 seconds.

    While the table is throttled, fails or cannot be reached, a client is known until what is known
    of it is two minutes old. Any answer ends that, and nothing lengthens it for unknown ids.

    Unknown ids are kept apart: a flood of them, which costs its sender next to nothing, pushes out
    other unknown ids and never a client.

    A record that makes a process reject is read again first: at most once a second for each client,
    at most ten times a second for all known clients, and as often for all unknown ids. So guesses
    cannot be turned into reads.
    """

    def __init__(self, registry: ClientRegistry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._clients: WarmCache[str, Client] = WarmCache(
            self._load,
            clock=clock,
            max_age=WARM_SECONDS,
            hard_age=STALE_SECONDS,
            max_entries=MAX_WARM_CLIENTS,
        )
        self._unknown: Recent[str, float] = Recent(MAX_WARM_CLIENTS)
        # Apart, so that a flood of unknown ids does not use up what rotated secrets need.
        self._known_reloads = _Allowance(clock)
        self._unknown_reloads = _Allowance(clock)

    def find(self, client_id: str) -> Client | None:
        """Return the client or None, perhaps as it was 30 seconds ago, or 2 minutes (see above)."""
        client = self._clients.peek(client_id)
        if client is not None:
            return client
        if not is_client_id(client_id) or self._is_unknown(client_id):
            return None
        try:
            return self._clients.get(client_id)
        except _UnknownClientError:
            return None

    def find_again(self, client_id: str, since: float) -> Client | None:
        """Return the client or None, read again unless it was read after `since`."""
        unknown_at = self._unknown.get(client_id)
        is_current = unknown_at is not None and since <= unknown_at <= self._clock()
        if is_current or not is_client_id(client_id):
            return None
        try:
            return self._clients.get_again(client_id, since, partial(self._permit, client_id))
        except _UnknownClientError:
            return None

    def _permit(self, client_id: str) -> None:
        """Count a reload, and make it read the table although the id may be known as unknown."""
        is_unknown = self._unknown.get(client_id) is not None
        (self._unknown_reloads if is_unknown else self._known_reloads).spend()
        self._unknown.forget(client_id)

    def _load(self, client_id: str) -> Client:
        if self._is_unknown(client_id):
            raise _UnknownClientError
        asked_at = self._clock()
        client = self._registry.find(client_id)
        if client is None:
            self._unknown.put(client_id, asked_at)
            raise _UnknownClientError
        return client

    def _is_unknown(self, client_id: str) -> bool:
        since = self._unknown.get(client_id)
        return since is not None and 0 <= self._clock() - since < WARM_SECONDS


class _Allowance:
    """So many reloads a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = float("-inf")
        self._spent = 0

    def spend(self) -> None:
        """Count one reload.

        Raises:
            StorageUnavailableError: it is one too many in this second.
        """
        now = self._clock()
        if not 0 <= now - self._second < 1:
            self._second, self._spent = now, 0
        if self._spent >= RELOADS_A_SECOND:
            raise StorageUnavailableError(reason="too many clients were read again just now")
        self._spent += 1


class _UnknownClientError(Exception):
    """Raised so that a cache of clients remembers clients only."""
