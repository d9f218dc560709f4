"""A plain reading of IAM policies, to judge compiled policies by."""

from typing import Any

from local.gateway.policy_evaluator import like


def allows(document: dict[str, Any], resource: str) -> bool:
    """Return True if the policy allows the resource. Conditions are assumed true."""
    effects = {
        statement["Effect"]
        for statement in document["Statement"]
        if any(like(pattern, resource) for pattern in statement["Resource"])
    }
    return effects == {"Allow"}
