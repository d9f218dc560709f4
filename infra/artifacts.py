"""What each Lambda artifact carries: packages of ours, and a lock file's worth of other people's.

`boto3` is in none of them: the Lambda runtime has it. Tests hold this table against the template
and against what the handlers import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARED: Final = "functions/shared"
AUTHORIZER: Final = "authorizer"


@dataclass(frozen=True, slots=True)
class Artifact:
    """Package folders, copied whole, and the name of a lock file in requirements/artifacts."""

    packages: tuple[str, ...]
    lock: str | None = None


ARTIFACTS: Final[Mapping[str, Artifact]] = {
    "Authorizer": Artifact((AUTHORIZER,), "verifying"),
    "SharedAuthorizer": Artifact((AUTHORIZER,), "verifying"),
    "IssueToken": Artifact(("functions/issue_token", SHARED, AUTHORIZER), "signing"),
    "IntrospectToken": Artifact(("functions/introspect_token", SHARED, AUTHORIZER), "signing"),
    "RevokeToken": Artifact(("functions/revoke_token", SHARED, AUTHORIZER), "signing"),
    "RotateKeys": Artifact(("functions/rotate_keys", SHARED, AUTHORIZER), "signing"),
    "PublishJwks": Artifact(("functions/publish_jwks", SHARED, AUTHORIZER)),
    "PublishMetadata": Artifact(("functions/publish_metadata", SHARED, AUTHORIZER), "verifying"),
    "PublishResourceMetadata": Artifact(
        ("functions/publish_resource_metadata", SHARED, AUTHORIZER), "verifying"
    ),
    "LookUpCountry": Artifact(("functions/look_up_country", SHARED, AUTHORIZER), "countries"),
}
"""By the function's logical id in template.yaml."""
