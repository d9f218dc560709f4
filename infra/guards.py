"""The guards of an API: which scope maps each one can express, and how each one decides about a token.

Three guards are AWS's own (JWT authorizers of REST and HTTP APIs, JWT verification of load
balancers). The other two are Gatehouse's Lambda authorizer and the library. The rules of AWS's guards
are those of its documentation and API models of 2026-11-30:

    docs.aws.amazon.com/apigateway/latest/developerguide/rest-api-jwt-authorizer.html
    docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html
    docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
    docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-verify-jwt.html

An answer that AWS does not document is marked as inferred.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from authorizer.errors import PolicyError
from authorizer.https_client import parse_url
from authorizer.jws import ALGORITHMS as JWS_ALGORITHMS
from authorizer.policy import MAX_POLICY_LENGTH, SHORTEST_STAGE_ARN, PolicyCompiler, Wildcards
from authorizer.route_coverage import write_route
from authorizer.routes import ANY_SEGMENT, REST_OF_PATH, ROOT, WEBSOCKET_CONNECT, Route
from authorizer.scope_map import ScopeMap
from functions.shared.clients.supported import SIGNING_ALGORITHMS


class Guard(StrEnum):
    """A place where the tokens of an API are verified."""

    REST_JWT = "rest-jwt"
    HTTP_JWT = "http-jwt"
    ALB = "alb"
    LAMBDA = "lambda"
    LIBRARY = "library"


NATIVE = frozenset({Guard.REST_JWT, Guard.HTTP_JWT, Guard.ALB})
"""AWS's own guards. They verify JWTs and nothing else."""

ALGORITHMS: Mapping[Guard, frozenset[str]] = {
    Guard.REST_JWT: frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}),
    Guard.HTTP_JWT: frozenset({"RS256", "RS384", "RS512"}),
    Guard.ALB: frozenset({"RS256"}),
}
"""Signature algorithms of AWS's guards.

HTTP APIs support "RSA-based algorithms". PS256 is not confirmed among them.
"""

KEY_CACHE_SECONDS: Mapping[Guard, int | None] = {Guard.REST_JWT: 3600, Guard.HTTP_JWT: 7200, Guard.ALB: None}
"""The longest use of a withdrawn key, in seconds. AWS documents none for load balancers."""

MAX_KEY_CACHE_SECONDS = max(filter(None, KEY_CACHE_SECONDS.values()))

MAX_POLICIES = 400
"""The number of policies that are compiled to find routes that a policy denies."""

MAX_ALB_KEYS = 10
MAX_KEY_SET_LENGTH: Mapping[Guard, int] = {Guard.HTTP_JWT: 150_000, Guard.ALB: 150 * 1024}
"""The largest key set in bytes."""

MAX_ALB_PATTERN = 128
MAX_ALB_VALUE = 256
MAX_HTTP_AUDIENCES = 50
MAX_HTTP_SCOPES = 10
_ALB_PATH = re.compile(r"[A-Za-z0-9_.$/~'@:+&-]+")
_REST_SEGMENT = re.compile(r"[A-Za-z0-9._:-]+")


class Need(StrEnum):
    """Something that an API demands of its guard, beyond plain bearer tokens of the profile at+jwt."""

    PLAIN = "plain"
    OPAQUE = "opaque"
    DPOP = "dpop"
    MTLS = "mtls"
    REVOCATION = "revocation"


_UNMET: Mapping[Need, str] = {
    Need.PLAIN: "a token of the plain profile has the client's ID as audience and a list as scope: register the "
    "clients with the profile at+jwt",
    Need.OPAQUE: "it does not call an introspection endpoint, so every opaque token is rejected",
    Need.DPOP: "it does not read cnf, so a token bound to a DPoP key passes without a proof",
    Need.MTLS: "it does not read cnf, so a token bound to a certificate passes without the certificate",
    Need.REVOCATION: "it has no list of revoked tokens, so a revoked JWT passes until it expires",
}


@dataclass(frozen=True)
class Requirements:
    """The tokens of an API. An empty set of audiences means any.

    `keys` is the largest number of keys that the issuer's key set can have. `checks_revoked_tokens` is
    the stack's parameter CheckRevokedTokens, None if the stack is unknown.
    """

    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str] = frozenset({"RS256"})
    needs: frozenset[Need] = frozenset()
    keys: int = 1
    checks_revoked_tokens: bool | None = None


@dataclass(frozen=True)
class Obstacle:
    """A reason why a guard cannot express a scope map. `route` is None if it concerns every route."""

    reason: str
    route: Route | None = None


def alternatives(scope_map: ScopeMap) -> dict[Route, tuple[frozenset[str], ...]]:
    """Return the sets of scopes of which a token needs one, by route.

    A set that contains another one of the same route is left out, because the smaller one suffices.
    """
    found: dict[Route, list[frozenset[str]]] = {}
    for grant in scope_map.grants:
        for route in grant.routes:
            found.setdefault(route, []).append(grant.scopes)
    return {
        route: tuple(dict.fromkeys(each for each in sets if not any(other < each for other in sets)))
        for route, sets in found.items()
    }


def obstacles(guard: Guard, scope_map: ScopeMap, requirements: Requirements) -> list[Obstacle]:
    """Return the reasons why a guard cannot express a scope map; empty if it can."""
    if guard is Guard.LAMBDA:
        plain = _plain_obstacles(requirements)
        return [*_shared_obstacles(requirements), *plain, *policy_obstacles(scope_map)]
    if guard is Guard.LIBRARY:
        return list(_plain_obstacles(requirements))
    return [*_issuer_obstacles(guard, requirements), *_token_obstacles(guard, requirements), *_routes(guard, scope_map)]


def _shared_obstacles(requirements: Requirements) -> Iterator[Obstacle]:
    """Yield what the stack's shared authorizer does not check."""
    if requirements.needs & {Need.DPOP, Need.MTLS}:
        yield Obstacle(
            "the shared authorizer rejects every token that is bound to a key or a certificate; an authorizer of the "
            "API's own with ProofOfPossession accepts it with its proof"
        )
    if Need.REVOCATION in requirements.needs and requirements.checks_revoked_tokens is False:
        yield Obstacle("the stack has CheckRevokedTokens=false, so a revoked JWT passes until it expires")


def _plain_obstacles(requirements: Requirements) -> Iterator[Obstacle]:
    """Yield that no token of the plain profile can have an audience of the API: URLs are not IDs of clients."""
    audiences = sorted(requirements.audiences)
    if Need.PLAIN in requirements.needs and audiences and all(each.startswith("https://") for each in audiences):
        yield Obstacle(
            "a token of the plain profile has the client's ID as audience, and the API accepts only "
            f"{', '.join(audiences)}: name the IDs of the clients as audiences, or register the clients with the "
            "profile at+jwt"
        )


@lru_cache(maxsize=1)
def policy_obstacles(scope_map: ScopeMap) -> tuple[Obstacle, ...]:
    """Return what a policy cannot express: too many routes, and routes that a Deny closes."""
    lost: dict[Route, str] = {}
    compiler = PolicyCompiler(scope_map, lambda scopes, routes: lost.update(dict.fromkeys(routes, scopes)))
    oversized = [
        Obstacle(f"the policy of the scope {' '.join(sorted(scopes))} is larger than API Gateway accepts")
        for scopes in dict.fromkeys(grant.scopes for grant in scope_map.grants)
        if not _fits(compiler, scope_map, scopes)
    ]
    number = len(scope_map.scopes())
    # Few scopes, and nearly all scopes, first.
    sets = sorted(_scope_sets(scope_map), key=lambda each: (min(len(each), number - len(each)), sorted(each)))
    for scopes in sets[:MAX_POLICIES]:
        _fits(compiler, scope_map, scopes)  # a token is refused if they do not fit
    denied = "the policy for {} has to deny it, because a parameter would open a closed route"
    return (*oversized, *(Obstacle(denied.format(scopes), route) for route, scopes in lost.items()))


def _fits(compiler: PolicyCompiler, scope_map: ScopeMap, scopes: frozenset[str]) -> bool:
    """Return whether the policy for some scopes is one that API Gateway accepts."""
    # At most two routes have the same pattern: a parameter and a greedy one.
    if len(scope_map.routes_for(scopes)) > 2 * MAX_POLICY_LENGTH // len(SHORTEST_STAGE_ARN):
        return False
    try:
        compiler.compile(scopes, SHORTEST_STAGE_ARN)
    except PolicyError:
        return False
    return True


def fits_every_scope(scope_map: ScopeMap) -> bool:
    """Return whether the policy for a token with all scopes of the map is one that API Gateway accepts."""
    return _fits(PolicyCompiler(scope_map), scope_map, scope_map.scopes())


def _scope_sets(scope_map: ScopeMap) -> set[frozenset[str]]:
    """Return sets of scopes whose policies can deny an open route.

    Only routes that other routes' parameters match can be denied. The sets are the scopes of one or
    two grants with such routes, and all scopes but one.
    """
    patterns = Wildcards(route for grant in scope_map.grants for route in grant.routes).patterns
    overlapping: set[Route] = set()
    for route, reach in scope_map.tree.reached_by(patterns):
        if outside := reach.own_preferred | reach.outside_own_route():
            overlapping |= {route, *patterns.owners(outside)}
    involved = [grant.scopes for grant in scope_map.grants if not overlapping.isdisjoint(grant.routes)]
    every = scope_map.scopes()
    others = {every - {scope} for scopes in involved for scope in scopes}
    return {one | other for one in involved for other in involved} | others


def _issuer_obstacles(guard: Guard, requirements: Requirements) -> Iterator[Obstacle]:
    problem = url_problem(requirements.issuer)
    if not problem and not requirements.issuer.startswith("https:"):
        problem = "not an https URL, and AWS reads no other"
    if problem:
        yield Obstacle(f"the issuer {requirements.issuer} is {problem}")
    if guard is Guard.ALB:
        if len(requirements.issuer) > MAX_ALB_VALUE:
            yield Obstacle(f"the issuer is longer than {MAX_ALB_VALUE} characters")
        if requirements.keys > MAX_ALB_KEYS:
            yield Obstacle(
                f"the key set can have {requirements.keys} keys, and with more than {MAX_ALB_KEYS} no request is "
                "forwarded"
            )


def url_problem(issuer: str) -> str:
    """Return what is wrong with the URL of an issuer: empty, or words that follow "is"."""
    try:
        parse_url(issuer, allow_http=True)
    except ValueError as error:
        return str(error)
    return "a URL with a query" if "?" in issuer else ""


def _token_obstacles(guard: Guard, requirements: Requirements) -> Iterator[Obstacle]:
    if unsupported := requirements.algorithms - ALGORITHMS[guard]:
        named = ", ".join(sorted(unsupported))
        yield Obstacle(f"it does not support {named}, only {', '.join(sorted(ALGORITHMS[guard]))}")
    yield from (Obstacle(_UNMET[need]) for need in Need if need in requirements.needs)
    audiences = requirements.audiences
    if guard is Guard.ALB:
        if len(audiences) > 1:
            yield Obstacle(
                "it has several audiences, and AWS does not document whether one of several values of a claim is enough"
            )
        if any(len(audience) > MAX_ALB_VALUE for audience in audiences):
            yield Obstacle(f"an audience is longer than {MAX_ALB_VALUE} characters")
    elif not audiences:
        yield Obstacle("it requires at least one audience, and the API accepts tokens for any")
    elif guard is Guard.HTTP_JWT and len(audiences) > MAX_HTTP_AUDIENCES:
        yield Obstacle(f"it has more than {MAX_HTTP_AUDIENCES} audiences")


def _routes(guard: Guard, scope_map: ScopeMap) -> Iterator[Obstacle]:
    known = alternatives(scope_map)
    for route, sets in known.items():
        if route.method == WEBSOCKET_CONNECT:
            yield Obstacle("WebSocket APIs support Lambda authorizers only", route)
            continue
        several = [" ".join(sorted(scopes)) for scopes in sets if len(scopes) > 1]
        if several:
            yield Obstacle(f"one scope is enough for it, and the map requires all of {several[0]}", route)
        elif guard is Guard.ALB and len(sets) > 1:
            yield Obstacle("AWS does not document whether one of several scopes is enough for it", route)
        elif guard is Guard.HTTP_JWT and len(sets) > MAX_HTTP_SCOPES:
            yield Obstacle(f"it accepts at most {MAX_HTTP_SCOPES} scopes for a route", route)
        if guard is Guard.ALB:
            yield from _alb_route(route, sets)
        if guard is Guard.REST_JWT:
            yield from _rest_segments(route)
    if guard is Guard.REST_JWT:
        yield from _siblings(known)
    if guard is Guard.ALB:
        yield from _other_spellings(scope_map, known)


def _alb_route(route: Route, sets: tuple[frozenset[str], ...]) -> Iterator[Obstacle]:
    if len(alb_path(route)[1]) > MAX_ALB_PATTERN:
        yield Obstacle(f"its path pattern is longer than {MAX_ALB_PATTERN} characters", route)
    if any(len(scope) > MAX_ALB_VALUE for scopes in sets for scope in scopes):
        yield Obstacle(f"a scope is longer than {MAX_ALB_VALUE} characters", route)


def _other_spellings(scope_map: ScopeMap, known: Mapping[Route, tuple[frozenset[str], ...]]) -> Iterator[Obstacle]:
    """Yield routes whose requests in another spelling match the rule of a parameter with other scopes.

    A load balancer compares paths as they were sent. Most applications decode them and drop slashes.
    """
    patterns = Wildcards(known).patterns
    for route, reach in scope_map.tree.reached_by(patterns):
        for wider in patterns.owners(reach.other_preferred):
            if any(not any(own <= scopes for own in known[route]) for scopes in known[wider]):
                yield Obstacle(
                    "another spelling of its path (escaped, or with a final slash) matches the rule of "
                    f"{write_route(wider)}, which requires other scopes",
                    route,
                )
                break


def _rest_segments(route: Route) -> Iterator[Obstacle]:
    for segment in route.segments:
        if segment not in (ANY_SEGMENT, REST_OF_PATH, *ROOT) and not _REST_SEGMENT.fullmatch(segment):
            yield Obstacle(f"a REST API's path cannot contain {segment!r}", route)


def _siblings(routes: Mapping[Route, object]) -> Iterator[Obstacle]:
    """Yield greedy routes that a REST API rejects: a resource has one variable child at most."""
    parents = {route.segments[:at] for route in routes for at, each in enumerate(route.segments) if each == ANY_SEGMENT}
    for route in routes:
        if route.segments[-1:] == (REST_OF_PATH,) and route.segments[:-1] in parents:
            yield Obstacle("a REST API cannot have a greedy parameter next to a parameter", route)


def alb_path(route: Route) -> tuple[str, str]:
    """Return the member of a path condition and its value: the path, or a regular expression."""
    path = f"/{'/'.join(route.segments)}"
    if route.is_literal() and _ALB_PATH.fullmatch(path):
        return "Values", path
    wildcards = {ANY_SEGMENT: "[^/]+", REST_OF_PATH: ".+"}
    return "RegexValues", f"^/{'/'.join(wildcards.get(each) or re.escape(each) for each in route.segments)}$"


@dataclass(frozen=True)
class Token:
    """An access token of Gatehouse in a request: signed by the issuer, and not expired.

    `binding` is a confirmation method, with which `proof` shows whether the request has the proof or
    the certificate. A token without `binding` needs none.
    """

    scopes: frozenset[str]
    audiences: frozenset[str]
    algorithm: str = "RS256"
    is_plain: bool = False
    is_opaque: bool = False
    binding: Need | None = None
    proof: bool = False
    is_revoked: bool = False


class Answer(NamedTuple):
    """The status for a request: 200 means that it reaches the API. `why` is empty for 200."""

    status: int
    why: str = ""
    is_inferred: bool = False


ALLOWED = Answer(200)


def decide(guard: Guard, requirements: Requirements, token: Token, sets: Iterable[frozenset[str]]) -> Answer:
    """Return a guard's answer to a request for a route whose sets of scopes are `alternatives`.

    The guard has to be able to express the route. It has the settings that `gatehouse guard plan` writes
    for the requirements. The Lambda authorizer is the stack's shared one.
    """
    rejections = (_native_rejections if guard in NATIVE else _own_rejections)(guard, requirements, token)
    for rejects, why, is_inferred in rejections:
        if rejects:
            return Answer(401, why, is_inferred)
    if any(scopes <= token.scopes for scopes in sets):
        return ALLOWED if not (token.is_plain and guard in NATIVE) else Answer(200, is_inferred=True)
    if guard is Guard.ALB:
        return Answer(401, "scope", is_inferred=True)
    return Answer(403, "scope", is_inferred=guard is Guard.HTTP_JWT)


def _native_rejections(guard: Guard, requirements: Requirements, token: Token) -> Iterator[tuple[bool, str, bool]]:
    """Yield whether a check rejects the token, the name of the check, and whether this is inferred.

    AWS documents that a load balancer rejects a request, and no status.
    """
    alb, audiences = guard is Guard.ALB, requirements.audiences
    yield token.is_opaque, "not a JWT", alb
    supported = ALGORITHMS[guard]
    if guard is Guard.REST_JWT:  # the only one with a setting for algorithms
        supported &= requirements.algorithms
    yield token.algorithm not in supported, "algorithm", alb or token.algorithm.startswith("PS")
    yield bool(audiences) and audiences.isdisjoint(token.audiences), "audience", alb
    yield alb and bool(audiences) and len(token.audiences) > 1, "audience is a list", True
    yield alb and token.is_plain, "scope is a list", True
    yield token.binding is Need.DPOP and token.proof, "scheme DPoP", guard is not Guard.HTTP_JWT


def checked_needs(guard: Guard, requirements: Requirements) -> frozenset[Need]:
    """Return the needs for which Gatehouse's guards have settings, as `gatehouse guard plan` writes them."""
    if guard is Guard.LIBRARY:
        return requirements.needs
    checks_revoked = requirements.checks_revoked_tokens
    if checks_revoked is None:
        checks_revoked = Need.REVOCATION in requirements.needs
    return frozenset({Need.OPAQUE, Need.REVOCATION} if checks_revoked else {Need.OPAQUE})


def _own_rejections(guard: Guard, requirements: Requirements, token: Token) -> Iterator[tuple[bool, str, bool]]:
    """Yield the same for the Lambda authorizer and the library."""
    audiences, needs = requirements.audiences, checked_needs(guard, requirements)
    algorithms = requirements.algorithms if guard is Guard.LIBRARY else JWS_ALGORITHMS
    yield token.is_opaque and Need.OPAQUE not in needs, "not a JWT", False
    yield not token.is_opaque and token.algorithm not in algorithms, "algorithm", False
    yield bool(audiences) and audiences.isdisjoint(token.audiences), "audience", False
    yield token.is_revoked and (token.is_opaque or Need.REVOCATION in needs), "revoked", False
    yield token.binding is not None and token.binding not in needs, "bound to a key", False
    yield token.binding is not None and not token.proof, "no proof of the key", False


def token_kinds(requirements: Requirements, scopes: frozenset[str]) -> dict[str, Token]:
    """Return a token with these scopes for each kind that guards treat differently, by its name."""
    audiences = frozenset(sorted(requirements.audiences)[:1]) or frozenset({"https://api.example"})
    accepted = requirements.algorithms
    token = Token(scopes, audiences, "RS256" if "RS256" in accepted else min(accepted))
    kinds = {
        "at+jwt": token,
        "without the scopes": replace(token, scopes=frozenset()),
        "for another API": replace(token, audiences=frozenset({"https://another.example"})),
        "for several APIs": replace(token, audiences=audiences | {"https://another.example"}),
        "plain profile": replace(token, audiences=frozenset({"the client's ID"}), is_plain=True),
        "opaque": replace(token, is_opaque=True),
        "DPoP-bound, with proof": replace(token, binding=Need.DPOP, proof=True),
        "DPoP-bound, stolen": replace(token, binding=Need.DPOP),
        "certificate-bound": replace(token, binding=Need.MTLS, proof=True),
        "certificate-bound, stolen": replace(token, binding=Need.MTLS),
        "revoked": replace(token, is_revoked=True),
        **{algorithm: replace(token, algorithm=algorithm) for algorithm in SIGNING_ALGORITHMS},
    }
    del kinds[token.algorithm]  # the first kind has it
    if len(scopes) > 1:
        kinds["with one of the scopes"] = replace(token, scopes=frozenset(sorted(scopes)[:1]))
    return kinds
