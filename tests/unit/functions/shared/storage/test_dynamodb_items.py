import pytest

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
