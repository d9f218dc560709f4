"""`gatehouse guard`: configure the guards of an API from its scope map, and compare them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import Any

import click
from rich.console import RenderableType

from authorizer import strict_json
from authorizer.claims import CERTIFICATE, DPOP_KEY
from authorizer.routes import Route
from authorizer.scope_map import ScopeMap, ScopeMapError, parse_api_rules, parse_scope_map
from authorizer.settings import Settings
from functions.shared.clients.client import is_client_id, is_resource_indicator
from functions.shared.clients.supported import SIGNING_ALGORITHMS

from .. import guard_plans
from ..guards import (
    ALGORITHMS,
    KEY_CACHE_SECONDS,
    Answer,
    Guard,
    Need,
    Requirements,
    alternatives,
    decide,
    fits_every_scope,
    obstacles,
    token_kinds,
    url_problem,
)
from .context import CommandContext, pass_context
from .errors import CommandError, UsageError
from .input_files import read_text, write_text
from .key_operations import KeyAdmin
from .local_authorizer import LocalAuthorizer
from .options import Group, with_options
from .output import TextTable, safe
from .times import span

_Answers = tuple[Answer | None, ...]
"""The answer of each guard, None from a guard that cannot express the route."""

_Row = tuple[str, _Answers]
"""A kind of token and the answers to it."""

_FORMATS = ("cloudformation", "openapi")
_SMALLER: Mapping[Guard, str] = {
    **dict.fromkeys((Guard.REST_JWT, Guard.HTTP_JWT), "Use --format openapi, or several APIs."),
    Guard.ALB: "Use --for lambda or library, or several load balancers.",
    Guard.LAMBDA: "Use an authorizer of the API's own with the scope map as a file, or --for library.",
}
_LONGEST_TOKEN = 26  # a table is 80 columns wide at most
_API = (
    click.argument("scopes", type=click.Path(path_type=Path), required=False),
    click.option("--issuer", help="The issuer of the tokens. Default: that of --stack or --local."),
    click.option("--audience", "audiences", multiple=True, help="Audience of the API; may be repeated."),
    click.option(
        "--algorithm",
        "algorithms",
        type=click.Choice(SIGNING_ALGORITHMS),
        multiple=True,
        help="Signature algorithm; may be repeated. Default: RS256, or those with which the stack signs.",
    ),
    click.option(
        "--need",
        "needs",
        type=click.Choice([need.value for need in Need]),
        multiple=True,
        help="Further demand on the guard; may be repeated. Default: the checks of the stack's authorizer.",
    ),
    click.option("--keys", type=click.IntRange(1), help="Largest number of keys in the key set. Default: the stack's."),
)


@dataclass(frozen=True)
class GuardedApi:
    """The scope map of an API, its routes as the file has them, and the tokens that it accepts."""

    scope_map: ScopeMap
    routes: list[str]
    wanted: Requirements
    names_algorithms: bool
    """True if the algorithms are options, and not those of the stack."""


@click.group(cls=Group)
def guard() -> None:
    """Configure AWS's and Gatehouse's guards from one scope map, and compare them."""


@guard.command()
@with_options(_API)
@click.option("--for", "chosen", type=click.Choice([each.value for each in Guard]), required=True, help="The guard.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default=_FORMATS[0], show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Write the fragment to this file.")
@pass_context
def plan(context: CommandContext, /, chosen: str, form: str, output: Path | None, **given: Any) -> None:
    """Write the template fragment that guards an API by its scope map.

    SCOPES is a scope map, or an API's rules with audience and scopes. Without it the command reads
    the scope map of --stack or --local. If the guard cannot express the map, it writes nothing.
    """
    kind = Guard(chosen)
    if form == "openapi" and kind not in (Guard.REST_JWT, Guard.HTTP_JWT):
        raise UsageError(f"{kind} has no OpenAPI definition.", "Use --for rest-jwt or http-jwt.")
    api = _guarded_api(context, given)
    if found := obstacles(kind, api.scope_map, api.wanted):
        others = "library" if kind is Guard.LAMBDA else "lambda or library"
        reasons = "; ".join(guard_plans.reasons(found, api.scope_map, api.routes))
        if kind in KEY_CACHE_SECONDS and not api.wanted.issuer.startswith("https:"):
            others += ", or name a deployed issuer with --issuer https://…"
        elif not api.names_algorithms and not api.wanted.algorithms <= ALGORITHMS.get(kind, api.wanted.algorithms):
            others += ", or name the algorithms of this API's clients with --algorithm"
        raise CommandError(
            f"{kind} cannot guard this API: {reasons}.",
            f"Use --for {others}, or change the map or the tokens. See: gatehouse guard compare.",
        )
    write = guard_plans.openapi if form == "openapi" else guard_plans.plan
    document = write(kind, api.scope_map, api.wanted, api.routes)
    if problems := guard_plans.size_problems(document):
        raise CommandError(f"{kind} cannot guard this API: {'; '.join(problems)}.", _SMALLER[kind])
    text = f"{json.dumps(document, indent=2)}\n" if context.options.json else guard_plans.dump(kind, document)
    if output is not None:
        write_text(output, text)
    else:
        context.terminal.write(text.removesuffix("\n"))
    if kind in KEY_CACHE_SECONDS:
        seconds = KEY_CACHE_SECONDS[kind]
        cached = span(seconds) if seconds else "a time that AWS does not document"
        context.terminal.note(f"{kind} may use a withdrawn key for {cached}, and does not check revocation.")
    for note in _notes(kind, api, document):
        context.terminal.note(note)


def _notes(kind: Guard, api: GuardedApi, document: dict[str, Any]) -> Iterator[str]:
    """Yield what is required apart from the fragment."""
    wanted = api.wanted
    if kind is Guard.LAMBDA and Need.REVOCATION in wanted.needs and wanted.checks_revoked_tokens is None:
        yield "A revoked JWT is rejected only if Gatehouse's stack has CheckRevokedTokens=true. --stack checks it."
    if Need.PLAIN in wanted.needs and wanted.audiences:
        named = ", ".join(sorted(wanted.audiences))
        yield f"A token of the plain profile is accepted only if its client's ID is an audience. These are: {named}."
    if kind is Guard.LAMBDA and not fits_every_scope(api.scope_map):
        yield (
            "A token with all scopes of the map gets 500, because its policy is larger than API Gateway accepts. "
            "Request only the scopes that are needed."
        )
    yield from guard_plans.exceeded_quotas(document)


@guard.command()
@with_options(_API)
@pass_context
def compare(context: CommandContext, /, **given: Any) -> None:
    """Show what each guard answers, for each route and kind of token.

    A guard that cannot express a route has no answer (-). An answer that AWS does not document ends with ~. Each guard
    has the settings that plan writes for the same options; lambda is the shared authorizer. SCOPES is as for plan.
    """
    api = _guarded_api(context, given)
    wanted = api.wanted
    # Each row names its own algorithm and need, so no guard is ruled out for one of them. The laptop's guards accept
    # its http issuer.
    plain = replace(wanted, algorithms=frozenset({"RS256"}), needs=frozenset())
    if context.options.local:
        plain = replace(plain, issuer="https://issuer.example")
    closed = {kind: {each.route for each in obstacles(kind, api.scope_map, plain)} for kind in Guard}
    reasons = {
        kind: guard_plans.reasons(obstacles(kind, api.scope_map, wanted), api.scope_map, api.routes) for kind in Guard
    }
    texts = guard_plans.route_texts(api.scope_map, api.routes)
    rows: dict[_Row, list[str]] = {}
    groups: dict[tuple[_Row, ...], list[str]] = {}
    for route, sets in alternatives(api.scope_map).items():
        of_route = tuple(_answers(wanted, route, sets, closed))
        groups.setdefault(of_route, []).append(texts[route])
        for row in of_route:
            rows.setdefault(row, []).append(texts[route])
    document = {
        "obstacles": {kind.value: found for kind, found in reasons.items()},
        "rows": [
            {
                "token": token,
                "routes": routes,
                "answers": {kind: answer and answer._asdict() for kind, answer in zip(Guard, answers, strict=True)},
                "differs": _differs(answers),
            }
            for (token, answers), routes in rows.items()
        ],
    }
    legend = "~: AWS does not document this answer. -: the guard cannot express the routes."
    context.terminal.show(document, *_tables(groups, len(texts)), *map(safe, (*_obstacle_lines(reasons), legend)))


def _tables(groups: Mapping[tuple[_Row, ...], list[str]], number: int) -> Iterator[RenderableType]:
    """Yield a heading and a table for each group of routes with the same answers."""
    for of_routes, routes in groups.items():
        yield safe(f"{'All routes' if len(routes) == number else ', '.join(routes)}:", "bold")
        names: dict[tuple[object, _Answers], list[str]] = {}
        for token, answers in of_routes:
            # Algorithms with the same answers share a row.
            names.setdefault((token in SIGNING_ALGORITHMS or token, answers), []).append(token)
        yield TextTable(
            ("token", *Guard, ""),
            [
                (line, *map(_cell, answers), "differs" if _differs(answers) else "")
                for (_, answers), tokens in names.items()
                for line in wrap(", ".join(tokens), _LONGEST_TOKEN, break_on_hyphens=False)
            ],
        )
        yield ""


def _obstacle_lines(reasons: Mapping[Guard, Sequence[str]]) -> Iterator[str]:
    """Yield each reason with the guards that have it."""
    guards: dict[str, list[Guard]] = {}
    for kind, found in reasons.items():
        for reason in found:
            guards.setdefault(reason, []).append(kind)
    return (f"- {', '.join(kinds)}: {reason}." for reason, kinds in guards.items())


def _answers(
    wanted: Requirements, route: Route, sets: Sequence[frozenset[str]], closed: Mapping[Guard, set[Route | None]]
) -> Iterator[tuple[str, _Answers]]:
    for name, token in token_kinds(wanted, sets[0]).items():
        yield (
            name,
            tuple(None if {None, route} & closed[kind] else decide(kind, wanted, token, sets) for kind in Guard),
        )


def _differs(answers: Sequence[Answer | None]) -> bool:
    return len({answer.status for answer in answers if answer}) > 1


def _cell(answer: Answer | None) -> str:
    if answer is None:
        return "-"
    return f"{answer.status}{'~' if answer.is_inferred else ''}"


def _guarded_api(context: CommandContext, given: Mapping[str, Any]) -> GuardedApi:
    """Read the API from a file, or from the deployment's authorizer; options have precedence."""
    issuer, audiences, algorithms = given["issuer"], given["audiences"], given["algorithms"]
    options = context.options
    has_target = bool(options.stack or options.local or context.environ.get("GATEHOUSE_STACK"))
    routes: list[str] = []
    needed: frozenset[Need] = frozenset()
    if given["scopes"] is not None:
        scope_map, known, routes = _read_file(given["scopes"])
        if not audiences and known is None:
            raise UsageError("The scope map does not name the audience of the API.", "Add --audience.")
    else:
        authorizer = LocalAuthorizer(context)
        scope_map, known, needed = authorizer.scope_map, authorizer.audiences, _checked_needs(authorizer.settings)
    if not any(grant.routes for grant in scope_map.grants):
        raise UsageError("The scope map has no routes.")
    if issuer is not None and (problem := url_problem(issuer)):
        raise UsageError(f"The issuer {issuer!r} is {problem}.")
    if audiences:
        known = _given_audiences(audiences)
    if issuer is None and not has_target:
        raise UsageError("The issuer is unknown.", "Add --issuer, --stack or --local.")
    admin = KeyAdmin(context) if has_target else None
    # Every `--for lambda` uses the shared authorizer.
    shared = LocalAuthorizer(context, api="any").settings if has_target else None
    wanted = Requirements(
        issuer=issuer or context.deployment.issuer,
        audiences=known or frozenset(),
        algorithms=frozenset(algorithms or (admin.settings.signing_algorithms() if admin else ("RS256",))),
        needs=frozenset(map(Need, given["needs"])) or needed,
        keys=given["keys"] or (admin.most_published if admin else 1),
        checks_revoked_tokens=shared and shared.deny_list_table is not None,
    )
    return GuardedApi(scope_map, routes, wanted, names_algorithms=bool(algorithms))


def _given_audiences(given: Sequence[str]) -> frozenset[str]:
    """Return the audiences of the options, an empty set for `*`, which accepts any."""
    if list(given) == ["*"]:
        return frozenset()
    for each in given:
        if each == "*" or not (is_client_id(each) or is_resource_indicator(each)):
            raise UsageError(f"The audience {each!r} is neither a URI nor the ID of a client.")
    return frozenset(given)


def _checked_needs(settings: Settings) -> frozenset[Need]:
    """Return what an authorizer checks, apart from opaque tokens, which it always does."""
    checked = {
        Need.DPOP: DPOP_KEY in settings.confirmation_methods,
        Need.MTLS: CERTIFICATE in settings.confirmation_methods,
        Need.REVOCATION: settings.deny_list_table is not None,
    }
    return frozenset(need for need, is_checked in checked.items() if is_checked)


def _read_file(path: Path) -> tuple[ScopeMap, frozenset[str] | None, list[str]]:
    """Return the scope map, the audiences if the file has them, and the routes as written."""
    raw = read_text(path).encode()
    audiences: frozenset[str] | None = None
    try:
        members: dict[str, Any] = strict_json.parse_object(raw)
        if isinstance(members.get("scopes"), dict):
            scope_map, audiences = parse_api_rules(raw)
            members = members["scopes"]
        else:
            scope_map = parse_scope_map(raw)
    except (strict_json.JsonError, ScopeMapError) as error:
        raise UsageError(f"{path} is not a scope map: {error}.") from error
    return scope_map, audiences, [route for routes in members.values() for route in routes]
