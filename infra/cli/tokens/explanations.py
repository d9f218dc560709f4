"""The authorizer's way to a decision in plain words, step by step.

The decision and the reason are the authorizer's own. What is added is what each step had before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from authorizer import jws
from authorizer.errors import AuthorizerError, TokenRefused
from authorizer.policy import PolicyCompiler, write_policy
from authorizer.routes import parse_route
from infra.cli.tokens.api_gateway import DEFAULT, matching_statement, opened
from infra.cli.tokens.reasons import Stage, in_words, stage_of
from infra.cli.tokens.steps import SEEN, Known, readable_route

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from infra.cli.tokens.authorizer_copy import Call

_JWT_STAGES: Final = tuple(stage for stage in Stage if stage is not Stage.INTROSPECTION)
_OPAQUE_STAGES: Final = (
    Stage.RULES,
    Stage.READ,
    Stage.INTROSPECTION,
    Stage.POSSESSION,
    Stage.SCOPES,
)
_OK, _UNAUTHORIZED, _FORBIDDEN, _TROUBLE = 200, 401, 403, 500


@dataclass(frozen=True)
class Step:
    """A step: passed, failed, or (None) not come to."""

    stage: str
    passed: bool | None
    says: Sequence[str] = ()


@dataclass(frozen=True)
class Explanation:
    """A decision. `status` is what the caller gets; 200 stands for whatever the API answers."""

    status: int
    decision: str
    reason: str | None
    steps: Sequence[Step]
    claims: Mapping[str, object] | None = None
    statement: Mapping[str, str] | None = field(default=None)


def explain(
    known: Known, call: Call | None, outcome: AuthorizerError | Mapping[str, Any]
) -> Explanation:
    """Explain an outcome: the authorizer's answer, or what it raised.

    Without a call the explanation ends with what the token opens.
    """
    is_jwt = jws.looks_like_jws(known.text)
    refused = outcome if isinstance(outcome, AuthorizerError) else None
    steps = list(_steps(known, _stages(known, is_jwt=is_jwt), refused))
    claims = known.claims if is_jwt else dict(known.context) or None
    if any(step.passed is not True for step in steps if step.stage == Stage.SIGNATURE):
        claims = None  # nobody has vouched for them
    if isinstance(outcome, AuthorizerError):
        return _of_refusal(outcome, steps, claims)
    if "isAuthorized" in outcome:
        return _of_route(known, call, outcome, steps, claims)
    if call is None:
        return _of_all(opened(outcome["policyDocument"]), steps, claims)
    return _of_request(known, call, outcome["policyDocument"], steps, claims)


def _stages(known: Known, *, is_jwt: bool) -> list[Stage]:
    stages = _JWT_STAGES if is_jwt else _OPAQUE_STAGES
    return [stage for stage in stages if stage is not Stage.RULES or known.copy.rules_name]


def _of_refusal(
    refused: AuthorizerError, steps: list[Step], claims: Mapping[str, object] | None
) -> Explanation:
    if isinstance(refused, TokenRefused):
        status, said = _UNAUTHORIZED, f"Refused: {in_words(refused.reason)} The caller gets 401."
    else:
        status, said = _TROUBLE, f"Not decided: {in_words(refused.reason)} The caller gets 500."
    return Explanation(status, said, refused.reason.value, steps, claims)


def _of_all(
    routes: Sequence[str], steps: list[Step], claims: Mapping[str, object] | None
) -> Explanation:
    decision = f"A good token. It opens {', '.join(routes) or 'nothing here'}."
    return Explanation(_OK if routes else _FORBIDDEN, decision, None, steps, claims)


def _of_request(
    known: Known,
    call: Call,
    document: Mapping[str, Any],
    steps: list[Step],
    claims: Mapping[str, object] | None,
) -> Explanation:
    found = matching_statement(document, known.copy.resource(call.method, call.path))
    if found is not None and found["Effect"] == "Allow":
        says = [f"Allow {found['Resource']}"]
        if "until" in found:
            says.append(f"until {found['until']}, when the token ends")
        steps.append(Step("policy", passed=True, says=says))
        return Explanation(_OK, _let_through(call), None, steps, claims, found)
    says = [f"Deny {found['Resource']}"] if found else ["no statement names the request"]
    would = _in_words(_needed(known, call))
    steps.append(Step("policy", passed=False, says=[*says, would]))
    return Explanation(_FORBIDDEN, _denied(call), "scope_insufficient", steps, claims, found)


def _of_route(
    known: Known,
    call: Call | None,
    answer: Mapping[str, Any],
    steps: list[Step],
    claims: Mapping[str, object] | None,
) -> Explanation:
    """Explain a simple answer: it is about the one route that API Gateway has chosen."""
    scopes = frozenset(known.context.get("scope", "").split())
    routes = known.copy.scope_map.routes_for(scopes)
    if call is None:
        return _of_all([readable_route(route) for route in routes], steps, claims)
    route = known.copy.route(call)
    says = [f"isAuthorized {str(answer['isAuthorized']).lower()}, about {route}"]
    if answer["isAuthorized"]:
        steps.append(Step("route", passed=True, says=says))
        return Explanation(_OK, _let_through(call), None, steps, claims)
    if route == DEFAULT:
        says.append("no route of the scope map fits; is it another one of the API's (--route)?")
    else:
        openers = [
            scope
            for scope in sorted(known.copy.scope_map.scopes())
            if parse_route(route) in known.copy.scope_map.routes_for(frozenset((scope,)))
        ]
        says.append(_in_words(openers))
    steps.append(Step("route", passed=False, says=says))
    return Explanation(_FORBIDDEN, _denied(call), "scope_insufficient", steps, claims)


def _let_through(call: Call) -> str:
    return f"{call.method} {call.path} is let through, and the caller gets what the API answers."


def _denied(call: Call) -> str:
    return (
        f"{call.method} {call.path} is denied: the token is good, and does not open it. The caller "
        "gets 403."
    )


def _steps(
    known: Known, stages: Sequence[Stage], refused: AuthorizerError | None
) -> Iterator[Step]:
    failed = stage_of(refused.reason) if refused else None
    if failed not in (None, *stages):
        failed = stages[0]
    reached = True
    for stage in stages:
        if not reached:
            yield Step(stage, passed=None)
        elif refused is not None and stage == failed:
            reached = False
            yield Step(stage, passed=False, says=[*SEEN[stage](known), in_words(refused.reason)])
        else:
            yield Step(stage, passed=True, says=list(SEEN[stage](known)))


def _needed(known: Known, call: Call) -> list[str]:
    """Return the scopes that would open a request, each by itself."""
    resource = known.copy.resource(call.method, call.path)
    stage = resource.removesuffix(f"/{call.method}{call.path}")
    compiler = PolicyCompiler(known.copy.scope_map)
    openers = []
    for scope in sorted(known.copy.scope_map.scopes()):
        policy = write_policy(compiler.compile(frozenset((scope,)), stage))
        found = matching_statement(policy, resource)
        if found is not None and found["Effect"] == "Allow":
            openers.append(scope)
    return openers


def _in_words(openers: Sequence[str]) -> str:
    if openers:
        return f"{' or '.join(openers)} would open it"
    return "no scope by itself opens it; where there is no such route, API Gateway says 404"
