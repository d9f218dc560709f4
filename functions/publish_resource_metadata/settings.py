"""What publish_resource_metadata reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from functions.shared.runtime.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Settings:
    """The issuer's address, and what the authorizer is configured with.

    `resource` is the guarded API's own address; empty if it is the one of its stage.
    `proof_of_possession` is a comma list of `dpop` and `mtls`.
    """

    issuer: str
    resource: str = ""
    proof_of_possession: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings; raises MissingSettingsError naming every missing variable."""
        return read_settings(cls, environ)
