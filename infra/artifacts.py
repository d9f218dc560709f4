"""Content of each Lambda artifact: a handler, the modules it imports, and data files.

No artifact contains `boto3`, because the Lambda runtime has it. Tests compare this table with the
template and start every artifact.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SCOPES = "authorizer/scopes.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A handler module, a lock file of requirements/artifacts, and data files."""

    handler: str
    lock: str | None = None
    data: tuple[str, ...] = ()


AUTHORIZER = Artifact("authorizer.handler", "verifying", (SCOPES,))

ARTIFACTS: Mapping[str, Artifact] = {
    "Authorizer": AUTHORIZER,
    "SharedAuthorizer": AUTHORIZER,
    "IssueToken": Artifact("functions.issue_token.handler", "signing"),
    "IntrospectToken": Artifact("functions.introspect_token.handler", "signing"),
    "RevokeToken": Artifact("functions.revoke_token.handler", "signing"),
    "RotateKeys": Artifact("functions.rotate_keys.handler", "signing"),
    "PublishJwks": Artifact("functions.publish_jwks.handler"),
    "PublishMetadata": Artifact("functions.publish_metadata.handler", "verifying"),
    "PublishResourceMetadata": Artifact(
        "functions.publish_resource_metadata.handler", "verifying", (SCOPES,)
    ),
    "LookUpCountry": Artifact("functions.look_up_country.handler", "countries"),
}
"""By the function's logical id in template.yaml."""
