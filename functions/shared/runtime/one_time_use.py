"""Things that count once: the `jti` of an assertion or of a proof, until it would expire anyway."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final, Protocol

from authorizer.state_entry import entry
from functions.shared.runtime import records
from functions.shared.runtime.aws_clients import storage_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SCHEMA_VERSION: Final = 1
_USE_ID_BYTES: Final = 12


class AlreadyUsedError(Exception):
    """Raised when something that counts once was used before."""


class OneTimeUse(Protocol):
    """Remembers what was used."""

    def consume(self, kind: str, owner: str, value: str, expires_at: int, now: float) -> None:
        """Use `value`, one of `owner`'s, for the first time; it is remembered until `expires_at`.

        Of any number of concurrent calls exactly one returns. `kind` keeps apart what is used for
        different purposes; times are seconds since the epoch.

        Raises:
            AlreadyUsedError: it was used before.
        """


class DynamoDbOneTimeUse:
    """Used values in a DynamoDB table keyed by `entry`, TTL attribute `expires_at`.

    An entry is a digest: its length is bounded whatever a caller sends, and no separator can be
    forged. `use_id` tells one use from every other: boto3 writes again when no answer came, though
    the first write may have arrived, and a use must not be refused because of itself.
    """

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def consume(self, kind: str, owner: str, value: str, expires_at: int, now: float) -> None:
        """Use a value for the first time. One conditional write, so that no race can pass twice."""
        use_id = token_urlsafe(_USE_ID_BYTES)
        record = {
            "schema_version": SCHEMA_VERSION,
            "entry": entry(kind, owner, value),
            "expires_at": expires_at,
            "use_id": use_id,
        }
        with storage_errors():
            try:
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item=records.to_item(record),
                    # DynamoDB deletes expired items days late.
                    ConditionExpression=(
                        "attribute_not_exists(entry) OR expires_at <= :now OR use_id = :use_id"
                    ),
                    ExpressionAttributeValues=records.to_item(
                        {":now": int(now), ":use_id": use_id}
                    ),
                )
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                raise AlreadyUsedError from None
