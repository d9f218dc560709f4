"""Records and their DynamoDB items. Every record has the version of its schema."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from decimal import Clamped, Context, Decimal, Inexact, Overflow, Rounded, Underflow
from functools import cache
from typing import Any, Self

from .errors import StorageCorruptError

_NUMBER = Context(prec=38, Emin=-128, Emax=126, traps=[Clamped, Overflow, Inexact, Rounded, Underflow])
"""The numbers of DynamoDB. One that it cannot store exactly raises an ArithmeticError."""


def to_item(record: Mapping[str, object]) -> dict[str, Any]:
    """Render a record as a DynamoDB item.

    Raises:
        TypeError: a value is not a text, number, truth value, None, bytes, list or mapping.
    """
    return {name: _to_attribute(value) for name, value in record.items()}


def _to_attribute(value: object) -> dict[str, Any]:
    for kind, of in _PLAIN:
        if isinstance(value, of):
            return {kind: value}
    if value is None:
        return {"NULL": True}
    if isinstance(value, int | Decimal):
        return {"N": str(_number(value))}
    if isinstance(value, list | tuple):
        return {"L": [_to_attribute(each) for each in value]}
    if isinstance(value, Mapping):
        return {"M": to_item(value)}
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def _number(value: int | str | Decimal) -> Decimal:
    number = _NUMBER.create_decimal(value)
    if not number.is_finite():
        raise TypeError("a number is expected")
    return number


def _from_attribute(attribute: Mapping[str, Any]) -> Any:
    ((kind, value),) = attribute.items()
    return _READERS[kind](value)


_PLAIN = (("S", str), ("BOOL", bool), ("B", bytes))
_READERS: Mapping[str, Callable[[Any], Any]] = {
    **{kind: lambda value: value for kind, _ in _PLAIN},
    "NULL": lambda _: None,
    "N": _number,
    "L": lambda values: [_from_attribute(each) for each in values],
    "M": lambda members: {name: _from_attribute(each) for name, each in members.items()},
    "SS": set,
    "BS": set,
    "NS": lambda values: set(map(_number, values)),
}


def from_item(item: Mapping[str, Any], *, schema_version: int) -> dict[str, Any]:
    """Read a DynamoDB item of this schema version or an older one. Numbers become Decimal.

    The caller adds the attributes that an older version did not have.

    Raises:
        StorageCorruptError: its schema version is newer, or is not one of Gatehouse.
    """
    with reading("a record"):
        record = {name: _from_attribute(value) for name, value in item.items()}
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
    if not isinstance(value, Decimal) or value != value.to_integral_value():
        raise TypeError("a whole number is expected")
    return int(value)


def boolean(value: object) -> bool:
    """Return a stored truth value, or raise TypeError."""
    if not isinstance(value, bool):
        raise TypeError("true or false is expected")
    return value


def _as_is(value: Any) -> Any:
    return value


_Write = Callable[[Any], object]
_Read = Callable[[object], object]

_FIELD_TYPES: Mapping[object, tuple[_Write, _Read]] = {
    "str": (_as_is, text),
    "int": (_as_is, integer),
    "bool": (_as_is, boolean),
    "frozenset[str]": (sorted, lambda stored: frozenset(texts(stored))),
    "tuple[str, ...]": (list, lambda stored: tuple(texts(stored))),
}
"""How a dataclass's field of a plain type is written to a record, and read."""


@cache
def _plain_fields(dataclass: type) -> list[tuple[str, _Write, _Read]]:
    return [(each.name, *_FIELD_TYPES[each.type]) for each in fields(dataclass) if each.type in _FIELD_TYPES]


def plain_values(instance: object) -> dict[str, object]:
    """Return a dataclass's fields of plain types as part of a record, by their names."""
    dataclass: type = type(instance)
    return {name: write(getattr(instance, name)) for name, write, _ in _plain_fields(dataclass)}


def read_plain(dataclass: type, record: Mapping[str, Any]) -> dict[str, Any]:
    """Read a dataclass's fields of plain types.

    Raises:
        KeyError, TypeError: one is missing or mistyped.
    """
    return {name: read(record[name]) for name, _, read in _plain_fields(dataclass)}


class PlainRecord:
    """Base of dataclasses whose fields all have plain types."""

    __slots__ = ()

    def to_record(self) -> dict[str, object]:
        """Return the values as part of a record."""
        return plain_values(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read a record.

        Raises:
            KeyError, TypeError, ValueError: it is malformed.
        """
        return cls(**read_plain(cls, record))
