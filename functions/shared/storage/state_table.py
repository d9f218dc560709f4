"""The state table: used values, counters, revoked JWTs and uses of secrets, until they expire.

The partition key is `entry`, made by `authorizer.state_table.state_key`; the TTL attribute is `expires_at`.
DynamoDB deletes expired items days late, so each reader compares the time. Other programs, such as
an authorizer, may read the item of a revoked JWT:

    entry           S  "revoked#" and 64 hexadecimal digits
    expires_at      N  seconds since the epoch: the token's own `exp`, rounded up
    schema_version  N  1

The digits are a SHA-256 of three texts in UTF-8. Before each text comes its length in bytes, an
unsigned 64-bit big-endian number. The first text is the issuer. A token with a `jti` adds `jti` and
its value. Any other token adds `signing-input` and a SHA-256 in hexadecimal of the token up to its
last dot. Some signatures have several encodings, so the signature is left out.
"""

from authorizer.aws import Aws
from authorizer.state_table import CONDITION_FAILED, SCHEMA_VERSION, StateTable, state_key

from ..lifetimes import DAY
from ..storage import dynamodb_items
from .aws_calls import call, call_deadline, ignoring, storage_errors

KEPT_DAYS = 400
"""Longer than a year, so that the secret of a yearly job does not look idle."""

_LAST_USE = "secret-use"


class AlreadyUsedError(Exception):
    """Raised when a one-time value was used before."""


class OneTimeUse:
    """Values that are valid once, such as the `jti` of an assertion or of a DPoP proof.

    The key is a digest, which bounds its length and leaves no separator to forge.
    """

    def __init__(self, aws: Aws, table: str) -> None:
        self._table = StateTable(table, aws)

    def consume(self, kind: str, owner: str, value: str, expires_at: int, now: float) -> None:
        """Use a value of `owner` for the first time; its use is stored until `expires_at`.

        Exactly one of several concurrent calls returns. Values of different kinds are independent.
        Times are seconds since the epoch.

        Raises:
            AlreadyUsedError: it was used before.
        """
        with storage_errors():
            is_first = self._table.consume(state_key(kind, owner, value), expires_at, now, call_deadline())
        if not is_first:
            raise AlreadyUsedError


class Counters:
    """Counters that several processes increment."""

    def __init__(self, aws: Aws, table: str) -> None:
        self._aws = aws
        self._table = table

    def increment(self, key: str, expires_at: int) -> int:
        """Add one to the counter of this key and return its value, by one atomic update.

        The counter may be deleted at `expires_at`, in seconds since the epoch. Its key is not used after that.
        """
        answer = call(
            self._aws,
            "dynamodb",
            "UpdateItem",
            TableName=self._table,
            Key={"entry": {"S": key}},
            UpdateExpression="ADD counted :one SET schema_version = :version, expires_at = :end",
            ExpressionAttributeValues=dynamodb_items.to_item(
                {":one": 1, ":version": SCHEMA_VERSION, ":end": expires_at}
            ),
            ReturnValues="UPDATED_NEW",
        )
        with dynamodb_items.reading("a counter"):
            return int(answer["Attributes"]["counted"]["N"])


class JwtDenyList:
    """Revoked JWTs, by the key of their item."""

    def __init__(self, aws: Aws, table: str) -> None:
        self._aws = aws
        self._name = table
        self._table = StateTable(table, aws)

    def add(self, key: str, expires_at: int) -> None:
        """Store the item of a revoked token, which expires at `expires_at`. Idempotent."""
        record = {"schema_version": SCHEMA_VERSION, "entry": key, "expires_at": expires_at}
        call(self._aws, "dynamodb", "PutItem", TableName=self._name, Item=dynamodb_items.to_item(record))

    def holds(self, key: str, now: float) -> bool:
        """Return whether the token was revoked, by a consistent read: revocation is immediate."""
        with storage_errors():
            return self._table.is_revoked(key, now, call_deadline())


class SecretUses:
    """The day on which each client secret was last used."""

    def __init__(self, aws: Aws, table: str) -> None:
        self._aws = aws
        self._table = table

    def record(self, client_id: str, digest: str, day: int) -> None:
        """Store the start of the day of a use, unless a later day is stored."""
        with ignoring(CONDITION_FAILED):
            call(
                self._aws,
                "dynamodb",
                "UpdateItem",
                TableName=self._table,
                Key={"entry": {"S": state_key(_LAST_USE, client_id, digest)}},
                UpdateExpression="SET schema_version = :version, last_used = :day, expires_at = :end",
                ConditionExpression="attribute_not_exists(last_used) OR last_used < :day",
                ExpressionAttributeValues=dynamodb_items.to_item(
                    {":version": SCHEMA_VERSION, ":day": day, ":end": day + KEPT_DAYS * DAY}
                ),
            )

    def last_used(self, client_id: str, digest: str) -> int | None:
        """Return the start of the last day of use, in seconds since the epoch; None if unused."""
        key = {"entry": {"S": state_key(_LAST_USE, client_id, digest)}}
        answer = call(self._aws, "dynamodb", "GetItem", TableName=self._table, Key=key)
        item = answer.get("Item")
        if item is None:
            return None
        record = dynamodb_items.from_item(item, schema_version=SCHEMA_VERSION)
        with dynamodb_items.reading("a note of a secret's use"):
            return dynamodb_items.integer(record["last_used"])
