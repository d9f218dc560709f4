"""When each client secret was last used, by the day: so that an idle one can be taken away.

Kept beside the clients, not in them: a client is replaced as a whole when it is changed, and a
note made meanwhile would be lost, or undo the change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from authorizer.recent import Recent
from authorizer.state_entry import entry
from functions.shared.runtime import records
from functions.shared.runtime.aws_clients import storage_errors
from functions.shared.storage.errors import StorageError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SCHEMA_VERSION: Final = 1
DAY: Final = 86_400
KEPT_DAYS: Final = 400
"""Longer than a year, so that a secret of a yearly job does not look idle."""

_KIND: Final = "secret-use"
_REMEMBERED_USES: Final = 2048


class SecretUses(Protocol):
    """Keeps the day on which a secret was last used."""

    def record(self, client_id: str, digest: str, day: int) -> None:
        """Keep that a secret was used on the day that began at `day`, unless on a later one too."""

    def last_used(self, client_id: str, digest: str) -> int | None:
        """Return when the last day of use began, in seconds since the epoch; None if never."""


class DynamoDbSecretUses:
    """Uses in a DynamoDB table keyed by `entry`, TTL attribute `expires_at`."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def record(self, client_id: str, digest: str, day: int) -> None:
        """Keep a day of use. One conditional write."""
        with storage_errors():
            try:
                self._dynamodb.update_item(
                    TableName=self._table,
                    Key={"entry": {"S": entry(_KIND, client_id, digest)}},
                    UpdateExpression=(
                        "SET schema_version = :version, last_used = :day, expires_at = :end"
                    ),
                    ConditionExpression="attribute_not_exists(last_used) OR last_used < :day",
                    ExpressionAttributeValues=records.to_item(
                        {":version": SCHEMA_VERSION, ":day": day, ":end": day + KEPT_DAYS * DAY}
                    ),
                )
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                return

    def last_used(self, client_id: str, digest: str) -> int | None:
        """Return when the last day of use began."""
        with storage_errors():
            answer = self._dynamodb.get_item(
                TableName=self._table, Key={"entry": {"S": entry(_KIND, client_id, digest)}}
            )
        item = answer.get("Item")
        if item is None:
            return None
        record = records.from_item(item, schema_version=SCHEMA_VERSION)
        with records.reading("a note of a secret's use"):
            return records.integer(record["last_used"])


class WarmSecretUses:
    """Keeps a secret's first use of each day that this process sees, and no other."""

    def __init__(self, uses: SecretUses) -> None:
        self._uses = uses
        self._days: Recent[tuple[str, str], int] = Recent(_REMEMBERED_USES)

    def note(self, client_id: str, digest: str, now: float) -> None:
        """Note a use. Never fails: whether a client may come in does not depend on it."""
        day = int(now) // DAY * DAY
        if self._days.get((client_id, digest)) == day:
            return
        # Before the write: a store in trouble must not slow down every request of the day.
        self._days.put((client_id, digest), day)
        try:
            self._uses.record(client_id, digest, day)
        except StorageError:
            return
