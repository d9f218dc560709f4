"""The method ARN of a request, down to the stage."""

import re

from authorizer.errors import PolicyError, Reason

# Parts that a policy copies. None may hold a wildcard, a slash or a policy variable.
_STAGE_ARN = re.compile(
    r"arn:aws[a-z-]*:execute-api:[a-z0-9-]+:[0-9]+:[A-Za-z0-9]+/(?:[A-Za-z0-9_-]+|\$default)(?=/)"
)


def stage_arn(method_arn: object) -> str:
    """Return the part of a method ARN that all methods of the stage share.

    `arn:{partition}:execute-api:{region}:{account}:{api}/{stage}/{METHOD}/{path}`; the method and
    the path are the caller's words, so nothing after the stage is looked at.

    Raises:
        PolicyError: this is no method ARN.
    """
    match = _STAGE_ARN.match(method_arn) if isinstance(method_arn, str) else None
    if match is None:
        raise PolicyError(Reason.METHOD_ARN_MALFORMED)
    return match[0]


def api_id(stage_arn: str) -> str:
    """Return the API's id in the ARN of one of its stages."""
    return stage_arn.rpartition(":")[2].partition("/")[0]
