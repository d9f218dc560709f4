"""What revoke_token reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from functions.shared.runtime.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Settings:
    """The issuer's address, three tables by name, the key ring by name or ARN.

    `remote_keys` is "loopback" where keys of clients and issuers may be on this machine.
    """

    issuer: str
    clients_table: str
    tokens_table: str
    state_table: str
    key_ring_secret: str
    remote_keys: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings; raises MissingSettingsError naming every missing variable."""
        return read_settings(cls, environ)
