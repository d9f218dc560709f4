"""Records and their DynamoDB items. Every record says which schema it was written by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from functions.shared.oauth_errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Mapping


class UnreadableRecordError(ServerError):
    """Raised when a stored record is of another schema version or breaks its rules."""


def to_item(record: Mapping[str, object]) -> dict[str, Any]:
    """Render a record as a DynamoDB item."""
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in record.items()}


def from_item(item: Mapping[str, Any], *, schema_version: int) -> dict[str, Any]:
    """Read a DynamoDB item. Numbers become Decimal.

    Raises:
        UnreadableRecordError: it was written by another schema version.
    """
    deserialize = TypeDeserializer().deserialize
    record = {name: deserialize(value) for name, value in item.items()}
    written_by = record.get("schema_version")
    if written_by != schema_version:
        raise UnreadableRecordError(
            reason=f"a record has schema_version {written_by}, this code reads {schema_version}"
        )
    return record
