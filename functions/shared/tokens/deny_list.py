"""Revoked JWTs, until they would have expired anyway.

The format of an entry, for whoever consults the same table, such as an authorizer:

    entry           S  "revoked#" and 64 hexadecimal digits, the table's key
    expires_at      N  seconds since the epoch: the token's own `exp`, rounded up; the TTL attribute
    schema_version  N  1

The digits are SHA-256 over three texts in UTF-8, each after its length in bytes as an unsigned
64-bit big-endian number: the issuer; then `jti` and the token's jti, or, for a token that has none,
`signing-input` and the SHA-256 in hexadecimal of the token up to its last dot. Not of the whole
token, because some signatures can be written in more than one way. An entry counts while
`now < expires_at`: DynamoDB deletes expired items days late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from functions.shared.runtime import records
from functions.shared.runtime.aws_clients import storage_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SCHEMA_VERSION: Final = 1


class DenyList(Protocol):
    """Remembers which JWTs were revoked."""

    def add(self, name: str, expires_at: int) -> None:
        """Revoke the token of this name; it expires by itself at `expires_at`. Never too often."""

    def holds(self, name: str, now: float) -> bool:
        """Tell whether the token of this name was revoked."""


class DynamoDbDenyList:
    """Revoked JWTs in a DynamoDB table keyed by `entry`, TTL attribute `expires_at`."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def add(self, name: str, expires_at: int) -> None:
        """Revoke the token of this name. Unconditional: to revoke twice is no error."""
        record = {"schema_version": SCHEMA_VERSION, "entry": name, "expires_at": expires_at}
        with storage_errors():
            self._dynamodb.put_item(TableName=self._table, Item=records.to_item(record))

    def holds(self, name: str, now: float) -> bool:
        """Tell whether the token was revoked. A consistent read: a revocation counts at once."""
        with storage_errors():
            answer = self._dynamodb.get_item(
                TableName=self._table, Key={"entry": {"S": name}}, ConsistentRead=True
            )
        item = answer.get("Item")
        if not item:
            return False
        record = records.from_item(item, schema_version=SCHEMA_VERSION)
        with records.reading("a deny list entry"):
            return now < records.integer(record["expires_at"])
