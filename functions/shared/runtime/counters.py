"""Counters that many processes add to at once, each forgotten some time after it was begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from functions.shared.runtime import records
from functions.shared.runtime.aws_clients import storage_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SCHEMA_VERSION: Final = 1


class Counters(Protocol):
    """Counts."""

    def increment(self, entry: str, expires_at: int) -> int:
        """Add one to the counter of this name and return what it is now.

        Of any number of concurrent calls no two return the same. `expires_at`, in seconds since the
        epoch, is when the counter may be forgotten; a name is not used again after that.
        """


class DynamoDbCounters:
    """Counters in a DynamoDB table keyed by `entry`, TTL attribute `expires_at`."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def increment(self, entry: str, expires_at: int) -> int:
        """Add one, by one atomic update."""
        with storage_errors():
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key={"entry": {"S": entry}},
                UpdateExpression=(
                    "ADD counted :one SET schema_version = :version, expires_at = :end"
                ),
                ExpressionAttributeValues=records.to_item(
                    {":one": 1, ":version": SCHEMA_VERSION, ":end": expires_at}
                ),
                ReturnValues="UPDATED_NEW",
            )
        with records.reading("a counter"):
            return int(answer["Attributes"]["counted"]["N"])
