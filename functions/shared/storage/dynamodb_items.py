"""Records and their DynamoDB items. Every record has the version of its schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from functions.shared.storage.errors import StorageCorruptError


def to_item(record: Mapping[str, object]) -> dict[str, Any]:
    """Render a record as a DynamoDB item."""
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in record.items()}


def from_item(item: Mapping[str, Any], *, schema_version: int) -> dict[str, Any]:
    """Read a DynamoDB item of this schema version or an older one. Numbers become Decimal.

    The caller adds the attributes that an older version did not have.

    Raises:
        StorageCorruptError: its schema version is newer, or is not one of Gatehouse.
    """
    deserialize = TypeDeserializer().deserialize
    with reading("a record"):
        record = {name: deserialize(value) for name, value in item.items()}
    written_by = record.get("schema_version")
    if not isinstance(written_by, Decimal) or not 1 <= written_by <= schema_version:
        shown = written_by if isinstance(written_by, Decimal) else "of no kind"
        raise StorageCorruptError(reason=f"a record has schema_version {shown}, this code reads {schema_version}")
    return record


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Name the record when an attribute is missing, mistyped or breaks a rule.

    Raises:
        StorageCorruptError: in place of a KeyError, TypeError, ValueError or ArithmeticError.
    """
    try:
        yield
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise StorageCorruptError(reason=f"{what} is malformed: {error}") from error


def text(value: object) -> str:
    """Return a stored text, or raise TypeError."""
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value


def listed(value: object) -> list[Any]:
    """Return a stored list, or raise TypeError."""
    if not isinstance(value, list):
        raise TypeError("a list is expected")
    return value


def texts(value: object) -> Iterable[str]:
    """Return a stored list of texts, or raise TypeError."""
    return map(text, listed(value))


def integer(value: object) -> int:
    """Return a stored whole number, or raise TypeError."""
    # DynamoDB's numbers arrive as Decimal, and Decimal("Infinity") is not one of them.
    if not isinstance(value, Decimal) or value != value.to_integral_value():
        raise TypeError("a whole number is expected")
    return int(value)


def boolean(value: object) -> bool:
    """Return a stored truth value, or raise TypeError."""
    if not isinstance(value, bool):
        raise TypeError("true or false is expected")
    return value
