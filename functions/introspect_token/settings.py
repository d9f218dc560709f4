"""What introspect_token reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from functions.shared.runtime.settings import EnvironmentSettings


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The issuer's address, three tables by name, two secrets by name or ARN.

    `remote_keys` is "loopback" where keys of clients and issuers may be on this machine.
    """

    issuer: str
    clients_table: str
    tokens_table: str
    state_table: str
    key_ring_secret: str
    signing_keys_secret: str
    remote_keys: str = ""
