"""A plain reading of IAM policies, to judge compiled policies by."""

from typing import Any

from authorizer.policy import PolicyCompiler
from authorizer.routes import Route
from authorizer.scope_map import ScopeMap
from local.gateway.policy_evaluator import like
from tests.support.tokens import STAGE_ARN


def allows(document: dict[str, Any], resource: str) -> bool:
    """Return True if the policy allows the resource. Conditions are assumed true."""
    effects = {
        statement["Effect"]
        for statement in document["Statement"]
        if any(like(pattern, resource) for pattern in statement["Resource"])
    }
    return effects == {"Allow"}


def shadowed_routes(scope_map: ScopeMap, *scopes: str) -> list[Route]:
    """Return the routes that these scopes open and the policy yet denies, in whole or in part."""
    found: list[Route] = []
    PolicyCompiler(scope_map, lambda _, routes: found.extend(routes)).compile(frozenset(scopes), STAGE_ARN)
    return found
