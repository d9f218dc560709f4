"""Settings, read from the environment once per warm process."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from _typeshed import DataclassInstance

SettingsT = TypeVar("SettingsT", bound="DataclassInstance")


class MissingSettingsError(Exception):
    """Raised when environment variables that a function needs are absent or empty."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"Missing environment variables: {', '.join(names)}")
        self.names = tuple(names)


def read_settings(kind: type[SettingsT], environ: Mapping[str, str]) -> SettingsT:
    """Fill a dataclass of strings from the variables named like its fields, in upper case.

    Raises:
        MissingSettingsError: naming every variable that is absent or empty and has no default.
    """
    given = {field.name: environ.get(field.name.upper(), "").strip() for field in fields(kind)}
    missing = [
        field.name.upper()
        for field in fields(kind)
        if not given[field.name] and field.default is MISSING
    ]
    if missing:
        raise MissingSettingsError(missing)
    return kind(**{name: value for name, value in given.items() if value})
