"""What publish_jwks reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from functions.shared.runtime.settings import EnvironmentSettings


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The name or ARN of the key ring."""

    key_ring_secret: str
