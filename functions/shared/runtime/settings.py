"""Settings, read from the environment once per warm process."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class MissingSettingsError(Exception):
    """Raised when environment variables that a function needs are absent or empty."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"Missing environment variables: {', '.join(names)}")
        self.names = tuple(names)


@dataclass(frozen=True, slots=True)
class EnvironmentSettings:
    """What a function reads from its environment: its own settings are fields of a subclass.

    Each field is a text, and its variable is named like it, in upper case. A field with a default
    may be left out.
    """

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            MissingSettingsError: naming every variable that is absent or empty and has no default.
        """
        given = {field.name: environ.get(field.name.upper(), "").strip() for field in fields(cls)}
        missing = [
            field.name.upper()
            for field in fields(cls)
            if not given[field.name] and field.default is MISSING
        ]
        if missing:
            raise MissingSettingsError(missing)
        return cls(**{name: value for name, value in given.items() if value})
