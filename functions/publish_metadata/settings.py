"""What publish_metadata reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from functions.shared.runtime.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Settings:
    """The issuer's address, and the server's address behind mutual TLS, empty if it has none."""

    issuer: str
    mtls_base_url: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings; raises MissingSettingsError naming every missing variable."""
        return read_settings(cls, environ)
