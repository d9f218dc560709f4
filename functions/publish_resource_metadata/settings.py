"""What publish_resource_metadata reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from functions.shared.runtime.settings import EnvironmentSettings


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The issuer's address, and what the authorizer is configured with.

    `resource` is the guarded API's own address; empty if it is the one of its stage.
    `proof_of_possession` is a comma list of `dpop` and `mtls`.
    """

    issuer: str
    resource: str = ""
    proof_of_possession: str = ""
