"""Explanations of the authorizer's reasons, for the command line, the console and the docs.

The text of a reason is the string below its member in `authorizer.errors`. It is read from the
source, so the deployed authorizer carries no table.
"""

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from itertools import pairwise

from authorizer.errors import Reason
from authorizer.route_coverage import compare_routes
from authorizer.scope_map import ScopeMap


class Stage(StrEnum):
    """The authorizer's checks, in their order."""

    RULES = "rules"
    READ = "read"
    HEADER = "header"
    ISSUER = "issuer"
    KEY = "key"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    INTROSPECTION = "introspection"
    REVOCATION = "revocation"
    POSSESSION = "possession"
    SCOPES = "scopes"


_PREFIXES: Mapping[Stage, str] = {
    Stage.READ: "credentials_ scheme_wrong token_empty token_too_long token_encrypted "
    "token_in_json_form opaque_not_accepted segment_",
    Stage.KEY: "alg_not_of_key kid_unknown kid_ambiguous key_",
    Stage.HEADER: "header_ alg_ crit_ jwk_ jku_ x5u_ x5c_ b64_ zip_ enc_ cty_ typ_ kid_",
    Stage.ISSUER: "payload_ iss_",
    Stage.SIGNATURE: "signature_",
    Stage.SCOPES: "claims_ scope_insufficient policy_ event_kind method_arn_ unexpected",
    Stage.CLAIMS: "aud_ exp lifetime_ nbf_ not_yet_valid iat_ sub_ jti_ client_id_ id_token event_token cnf_ scope_",
    Stage.POSSESSION: "token_not_bound proof_ htm_ htu_ nonce_ ath_ jkt_ certificate_ address_unknown",
    Stage.REVOCATION: "token_revoked deny_list_",
    Stage.INTROSPECTION: "token_type token_inactive introspection_",
    Stage.RULES: "api_rules_",
}
"""Prefixes of the reasons of each stage; the first match applies."""


def stage_of(reason: Reason) -> Stage:
    """Return the check that gives a reason."""
    return next(stage for stage, starts in _PREFIXES.items() if reason.startswith(tuple(starts.split())))


def reason_text(reason: Reason) -> str:
    """Return the explanation of a reason."""
    return _texts()[reason.name]


@cache
def _texts() -> Mapping[str, str]:
    (definition,) = ast.parse(inspect.getsource(Reason)).body
    assert isinstance(definition, ast.ClassDef)
    return dict(docstrings(definition.body))


def docstrings(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield each assigned or annotated name with the string below it."""
    for statement, below in pairwise(body):
        match statement, below:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())


def route_faults(guarded: Iterable[str], scope_map: ScopeMap, *, simple_responses: bool = False) -> Iterator[str]:
    """Yield a sentence for each fault of a scope map, given the guarded routes of an API.

    A policy opens a route that no scope names if a parameter of another route matches it. A simple
    response is about one route, so such a route stays closed.
    """
    found = compare_routes(guarded, scope_map)
    closed = list(found.closed)
    for shadowed in found.shadowed:
        if simple_responses:
            closed.append(shadowed.route)
        else:
            yield (
                f"{shadowed.route} is open to every scope that opens {shadowed.opened_by}, because no scope names it"
            )
    for route in dict.fromkeys(closed):
        yield f"{route} is guarded and no scope opens it"
    for route in found.unknown:
        yield f"the scope map names {route}, which is not a guarded route"
