"""What publish_metadata reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from functions.shared.runtime.settings import EnvironmentSettings


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The issuer's address, and the server's address behind mutual TLS, empty if it has none."""

    issuer: str
    mtls_base_url: str = ""
