from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from functions.shared.storage.dynamodb_items import from_item, to_item
from functions.shared.storage.errors import StorageCorruptError


def test_record_round_trips() -> None:
    record = {"schema_version": 1, "name": "a", "list": ["x"], "none": None, "yes": True}
    assert from_item(to_item(record), schema_version=1) == record


def test_record_of_an_older_schema_version_is_read() -> None:
    assert from_item(to_item({"schema_version": 1, "a": "b"}), schema_version=3)["a"] == "b"


@pytest.mark.parametrize("record", [{}, {"schema_version": 2}, {"schema_version": 0}, {"schema_version": "1"}])
def test_newer_schema_version_is_rejected(record: dict[str, object]) -> None:
    with pytest.raises(StorageCorruptError, match=r"schema_version .* this code reads 1"):
        from_item(to_item(record), schema_version=1)


NUMBERS = st.integers() | st.decimals(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text() | st.binary()
VALUES = st.recursive(SCALARS, lambda values: st.lists(values) | st.dictionaries(st.text(), values), max_leaves=10)


@given(st.dictionaries(st.text(), VALUES))
def test_items_equal_those_of_boto3(record: dict[str, Any]) -> None:
    try:
        expected = {name: TypeSerializer().serialize(value) for name, value in record.items()}
    except (ArithmeticError, TypeError) as error:
        with pytest.raises(type(error)):
            to_item(record)
        return
    item = to_item(record)
    assert item == expected
    read = from_item({**item, "schema_version": {"N": "1"}}, schema_version=1)
    assert read == {"schema_version": 1} | {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


def test_sets_are_read() -> None:
    item = {"a": {"SS": ["x", "y"]}, "b": {"NS": ["1", "2.5"]}, "c": {"BS": [b"z"]}, "schema_version": {"N": "1"}}
    read = from_item(item, schema_version=1)
    assert (read["a"], read["b"], read["c"]) == ({"x", "y"}, {1, Decimal("2.5")}, {b"z"})


@pytest.mark.parametrize("attribute", [{"N": "x"}, {"N": "Infinity"}, {"N": None}, {"Q": 1}, {"S": "x", "N": "1"}, {}])
def test_unreadable_attribute_is_corrupt(attribute: dict[str, Any]) -> None:
    with pytest.raises(StorageCorruptError):
        from_item({"schema_version": {"N": "1"}, "a": attribute}, schema_version=1)


@pytest.mark.parametrize("value", [1.5, {"x"}, object(), Decimal("-Infinity"), Decimal("NaN")])
def test_other_types_are_not_stored(value: object) -> None:
    with pytest.raises(TypeError):
        to_item({"a": value})
