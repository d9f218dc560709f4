"""`gatehouse token inspect`: the authorizer's decision about a token, explained."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.serialization import Encoding
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from authorizer import base64url, jws, strict_json
from authorizer.claims import context_name
from authorizer.errors import AuthorizerError, InvalidTokenError
from authorizer.policy import PolicyCompiler, write_policy
from authorizer.routes import Route, parse_route
from authorizer.scope_map import ScopeMap
from functions.shared.clients import additional_claims
from functions.shared.clients.assertion_rules import matches_wildcards

from ..explain import Stage, reason_text, stage_of
from .aws_errors import translated_errors
from .context import CommandContext, pass_context
from .errors import CommandError, ExitCode
from .input_files import STDIN, read_certificate, read_token
from .key_operations import KeyAdmin
from .local_authorizer import DEFAULT, Call, LocalAuthorizer, address_of
from .options import Command
from .output import safe
from .times import readable, span
from .token_requests import read_key


@dataclass(frozen=True, slots=True)
class Step:
    """A check: passed, failed, or not reached (None)."""

    stage: str
    passed: bool | None
    says: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        mark, style = _MARKS[self.passed]
        line = Text(f"{mark} ", style=style).append(f"{self.stage:<{_INDENT - 2}}", style="bold")
        lines = safe("\n".join(self.says), style="default" if self.says else "dim")
        if not options.no_wrap:
            lines = Text("\n").join(lines.wrap(console, max(options.max_width - _INDENT, _INDENT)))
        yield line.append(Text("\n" + " " * _INDENT).join(lines.split("\n")))


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision. `status` is what the caller gets; 200: the response of the API."""

    status: int
    decision: str
    reason: str | None
    steps: Sequence[Step]
    claims: Mapping[str, object] | None
    statement: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """A token, and the authorizer's decision about a request with it.

    `call` is None to explain every route that the token opens. `outcome` is the authorizer's response or error.
    """

    text: str
    authorizer: LocalAuthorizer
    call: Call | None
    outcome: AuthorizerError | Mapping[str, Any]

    @property
    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self.authorizer.context.now()

    @property
    def is_jwt(self) -> bool:
        """True for a JWT, False for an opaque token."""
        return jws.looks_like_jws(self.text)

    @property
    def context(self) -> Mapping[str, str]:
        """The authorizer's context for the API; empty after an error."""
        return {} if isinstance(self.outcome, AuthorizerError) else self.outcome.get("context", {})

    @property
    def scopes(self) -> list[str]:
        """The token's scopes, as the authorizer has parsed them."""
        return self.context.get("scope", "").split()

    def unverified(self, part: int) -> dict[str, object]:
        """Return the header (0) or the claims (1) of a JWT; empty if it cannot be decoded."""
        try:
            return strict_json.parse_object(base64url.decode(self.text.encode().split(b".")[part]))
        except (IndexError, ValueError, InvalidTokenError):
            return {}


def explain(seen: Inspection) -> Explanation:
    """Explain the authorizer's decision."""
    call, outcome = seen.call, seen.outcome
    steps = list(_steps(seen))
    is_verified = all(step.passed for step in steps if step.stage == Stage.SIGNATURE)
    claims = seen.unverified(1) if seen.is_jwt else dict(seen.context) or None
    claims = claims if is_verified else None
    if isinstance(outcome, AuthorizerError):
        rejected = isinstance(outcome, InvalidTokenError)
        status, verdict = (401, "Rejected") if rejected else (500, "Not decided")
        decision = f"{verdict}: {reason_text(outcome.reason)} The caller gets {status}."
        return Explanation(status, decision, outcome.reason.value, steps, claims)
    if call is None:
        routes = _open_routes(seen, outcome)
        decision = f"Valid token. It opens {', '.join(routes) or 'no route of this API'}."
        return Explanation(200 if routes else 403, decision, None, steps, claims)
    is_simple = "isAuthorized" in outcome
    statement = None if is_simple else matching_statement(outcome["policyDocument"], _resource(seen, call))
    steps.append(_route(seen, call, outcome) if is_simple else _policy(seen, call, statement))
    request = f"{call.method} {call.path}"
    if steps[-1].passed:
        decision = f"{request} is allowed, and the caller gets the response of the API."
        return Explanation(200, decision, None, steps, claims, statement)
    decision = f"{request} is denied: the token is valid, but its scopes do not open it. The caller gets 403."
    return Explanation(403, decision, "scope_insufficient", steps, claims, statement)


def _steps(seen: Inspection) -> Iterator[Step]:
    skipped = {Stage.INTROSPECTION} if seen.is_jwt else _JWT_ONLY
    if not seen.authorizer.rules_name:
        skipped = {*skipped, Stage.RULES}
    stages = [stage for stage in Stage if stage not in skipped]
    error = seen.outcome if isinstance(seen.outcome, AuthorizerError) else None
    failed = stage_of(error.reason) if error else None
    if failed not in (None, *stages):
        failed = stages[0]
    reached = True
    for stage in stages:
        if error and stage == failed:
            reached = False
            yield Step(stage, passed=False, says=[*_SEEN[stage](seen), reason_text(error.reason)])
        else:
            yield Step(stage, passed=reached or None, says=[*_SEEN[stage](seen)] if reached else ())


def _resource(seen: Inspection, call: Call) -> str:
    return f"{seen.authorizer.stage_arn}/{call.method}{call.path}"


def _policy(seen: Inspection, call: Call, found: Mapping[str, str] | None) -> Step:
    """Explain a policy: the statement that decides about the request."""
    says = [f"{found['Effect']} {found['Resource']}" if found else "no statement matches the request"]
    if found and _allows(found):
        says += [f"until {found['until']}, when the token expires"] if "until" in found else []
        return Step("policy", passed=True, says=says)
    scope_map, stage = seen.authorizer.scope_map, seen.authorizer.stage_arn
    compiler = PolicyCompiler(scope_map)
    openers = [
        scope
        for scope in sorted(scope_map.scopes())
        if _allows(
            matching_statement(write_policy(compiler.compile(frozenset((scope,)), stage)), _resource(seen, call))
        )
    ]
    return Step("policy", passed=False, says=[*says, _would_open(openers)])


def _route(seen: Inspection, call: Call, outcome: Mapping[str, Any]) -> Step:
    """Explain a simple response, which is about the one route that API Gateway has chosen."""
    scope_map, route = seen.authorizer.scope_map, seen.authorizer.route_of(call)
    allowed = bool(outcome["isAuthorized"])
    says = [f"isAuthorized {str(allowed).lower()} for {route}"]
    if not allowed and route == DEFAULT:
        says.append("no route of the scope map matches; name another route of the API with --route")
    elif not allowed:
        wanted = parse_route(route)
        says.append(_would_open([each for each in sorted(scope_map.scopes()) if wanted in _routes(scope_map, each)]))
    return Step("route", passed=allowed, says=says)


def _routes(scope_map: ScopeMap, *scopes: str) -> Sequence[Route]:
    return [*scope_map.routes_for(frozenset(scopes))]


def _would_open(openers: Sequence[str]) -> str:
    if openers:
        return f"{' or '.join(openers)} would open it"
    return "no single scope opens it; if the API has no such route, the caller gets 404"


def matching_statement(document: Mapping[str, Any], resource: str) -> dict[str, str] | None:
    """Return the statement of a policy that decides about a resource, or None. Deny wins."""
    found: dict[str, str] | None = None
    for statement in document["Statement"]:
        effect, limits = statement["Effect"], statement.get("Condition", {})
        for pattern in statement["Resource"]:
            if matches_wildcards(pattern, resource) and (not found or (_allows(found) and effect == "Deny")):
                found = {"Effect": effect, "Resource": pattern}
                if until := limits.get("DateLessThanIfExists", {}).get("aws:CurrentTime"):
                    found["until"] = until
                break
    return found


def _allows(statement: Mapping[str, str] | None) -> bool:
    return statement is not None and statement["Effect"] == "Allow"


def _open_routes(seen: Inspection, outcome: Mapping[str, Any]) -> list[str]:
    """Return the routes that a token opens, as patterns: `GET /country/code/*`."""
    if "isAuthorized" in outcome:
        routes = _routes(seen.authorizer.scope_map, *seen.scopes)
        return [_readable(route.pattern()) for route in routes]
    return [
        _readable(resource.split("/", 2)[2])
        for statement in outcome["policyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
        for resource in statement["Resource"]
    ]


def _readable(pattern: str) -> str:
    return pattern.replace("/", " /", 1)


def _header(seen: Inspection) -> Iterator[str]:
    header, accepted = seen.unverified(0), ", ".join(sorted(seen.authorizer.settings.algorithms))
    typ = f"typ {header['typ']}" if header.get("typ") else "no typ"
    yield f"alg {header.get('alg')} (accepted: {accepted}), {typ}"


def _issuer(seen: Inspection) -> Iterator[str]:
    settings = seen.authorizer.settings
    trusted = [each.issuer for each in settings.issuers]
    yield f"{seen.unverified(1).get('iss')} (trusted: {', '.join(trusted)})"


def _key(seen: Inspection) -> Iterator[str]:
    kid, now = str(seen.unverified(0).get("kid")), seen.now
    yield kid
    try:
        with translated_errors():
            keys = KeyAdmin(seen.authorizer.context).ring.keys
    except CommandError as error:
        yield f"its times are unknown: {error.problem}"
        return
    key = next((each for each in keys if each.kid == kid), None)
    if key is None:
        yield "not in the deployment's key ring"
        return
    start = readable(key.sign_from)
    if now < key.sign_from:
        yield f"signs from {start}"
    elif key.sign_until is not None and key.sign_until <= now:
        yield f"signed from {start} until {readable(key.sign_until)}"
    else:
        yield f"signs since {start} ({span(now - key.sign_from)})"
    yield f"published until {readable(key.publish_until, otherwise='its last token expires')}"


def _claims(seen: Inspection) -> Iterator[str]:
    claims = seen.unverified(1)
    accepted = ", ".join(sorted(seen.authorizer.audiences)) or "any"
    audience = claims.get("aud")
    named = ", ".join(map(str, audience)) if isinstance(audience, list) else audience
    yield f"aud {named} (accepted: {accepted})"
    client = next(filter(None, map(claims.get, ("client_id", "azp", "cid", "appid"))), None)
    yield f"sub {claims.get('sub', client)}" + (f", client {client}" if client else "")
    yield from _times(claims, seen.now)
    if "jti" in claims:
        yield f"jti {claims['jti']}"
    passed = seen.authorizer.settings.context_claims
    for name, value in additional_claims.others(claims).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"{name} {text}" + (f" (passed to the API as {context_name(name)})" if name in passed else "")


def _times(claims: Mapping[str, object], now: float) -> Iterator[str]:
    for name, before, after in (
        ("iat", "issued {} ago", "issued in {}"),
        ("nbf", "valid since {} ago", "valid in {}"),
        ("exp", "expired {} ago", "expires in {}"),
    ):
        value = claims.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 33:
            distance = (before if value <= now else after).format(span(value - now))
            yield f"{name} {readable(value)}: {distance}"


def _introspection(seen: Inspection) -> Iterator[str]:
    yield f"response of {seen.authorizer.settings.introspection_uri}"
    if seen.context:
        yield f"sub {seen.context['sub']}, client {seen.context['client_id']}"
        yield from _times({"exp": float(seen.context["exp"])}, seen.now)
        for name in sorted(seen.authorizer.settings.context_claims):
            if text := seen.context.get(context_name(name)):
                yield f"{name} {text} (passed to the API as {context_name(name)})"


def _revocation(seen: Inspection) -> Iterator[str]:
    table, fresh = seen.authorizer.settings.deny_list_table, span(seen.authorizer.settings.deny_list_soft_age)
    yield f"not listed in {table}, cached for {fresh}" if table else "not checked (CheckRevokedTokens is false)"


def _possession(seen: Inspection) -> Iterator[str]:
    bound = seen.unverified(1).get("cnf") if seen.is_jwt else None
    method = next(iter(bound), None) if isinstance(bound, dict) else None
    by = "DPoP" if method == "jkt" else "a certificate"
    yield f"bound to a key by {by} ({method})" if method else "not bound to a key: a bearer token"


def _scopes(seen: Inspection) -> Iterator[str]:
    for scope in seen.scopes:
        opened = [_readable(r.pattern()) for r in _routes(seen.authorizer.scope_map, scope)]
        yield f"{scope} opens {', '.join(opened) or 'no route of this API'}"


_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}
_INDENT = 16
_JWT_ONLY = {*(Stage.HEADER, Stage.ISSUER, Stage.KEY, Stage.SIGNATURE, Stage.CLAIMS, Stage.REVOCATION)}
_SEEN: Mapping[Stage, Callable[[Inspection], Iterable[str]]] = {
    Stage.RULES: lambda it: [f"rules of {it.authorizer.rules_name}", *it.authorizer.notices],
    Stage.READ: lambda it: [f"{'a JWT' if it.is_jwt else 'an opaque token'} of {len(it.text)} characters"],
    Stage.HEADER: _header,
    Stage.ISSUER: _issuer,
    Stage.KEY: _key,
    Stage.SIGNATURE: lambda it: [f"valid for this key, over {it.text.rfind('.')} characters"],
    Stage.CLAIMS: _claims,
    Stage.INTROSPECTION: _introspection,
    Stage.REVOCATION: _revocation,
    Stage.POSSESSION: _possession,
    Stage.SCOPES: _scopes,
}
"""The observations of each check."""


_FILE = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("file", type=_FILE, default=STDIN)
@click.option(
    "--request",
    type=(str, str),
    metavar="METHOD PATH",
    help="Decide about this request, such as GET /country/code/AUS.",
)
@click.option("--dpop-key", type=_FILE, help="Private key of a DPoP-bound token, PEM or JWK.")
@click.option("--certificate", type=_FILE, help="The caller's certificate, PEM.")
@click.option(
    "--api", metavar="ID", help="API of another stack with the shared authorizer and its own rules, as ID or ID/STAGE."
)
@click.option("--function", metavar="NAME", help="Another authorizer: name or ARN of its function.")
@click.option("--settings", type=_FILE, help="Another authorizer: file with its environment variables, YAML or JSON.")
@click.option(
    "--scope-map", type=_FILE, help="File that replaces the deployed scope map or, with --api, the API's rules."
)
@click.option(
    "--route",
    metavar="KEY",
    help="Route that API Gateway chooses, such as 'GET /customers/{id}', for simple responses. "
    "Default: the matching route of the scope map.",
)
@pass_context
def inspect(context: CommandContext, /, file: Path, **given: Any) -> None:
    """Explain the authorizer's decision about a token; exit with 1 if it is rejected.

    FILE contains the token, alone, in a header or in a token response. Without FILE it is read from stdin
    or a prompt. The authorizer's own code decides, with the deployed settings and rules and this machine's clock.
    """
    authorizer = LocalAuthorizer(
        context, given["api"], given["function"], given["settings"], given["scope_map"], given["route"]
    )
    with context.terminal.progress("Reading the authorizer's settings"):
        _ = authorizer.settings  # finds the deployment before a token is typed
    text = read_token(file)
    call = _call(authorizer, text, given)
    with context.terminal.progress("Fetching the issuer's keys"):
        outcome: AuthorizerError | Mapping[str, Any]
        try:
            outcome = authorizer.judge(call).output
        except AuthorizerError as error:
            outcome = error
        explanation = explain(Inspection(text, authorizer, call if given["request"] else None, outcome))
    context.terminal.show(asdict(explanation), *explanation.steps, "", safe(explanation.decision, style="bold"))
    if explanation.status != 200:
        click.get_current_context().exit(ExitCode.REFUSED)


def _call(authorizer: LocalAuthorizer, text: str, given: dict[str, Any]) -> Call:
    method, path = given["request"] or ("GET", "/")
    method, path = method.upper(), path.partition("?")[0]
    url = address_of(authorizer.address, path)
    headers = {"Authorization": f"Bearer {text}"}
    if given["dpop_key"]:
        key = read_key(given["dpop_key"])
        proof = key.proof(method, url, authorizer.context.now(), token=text)
        headers = {"Authorization": f"DPoP {text}", "DPoP": proof}
    certificate = None
    if given["certificate"]:  # without a private key in the same file
        certificate = read_certificate(given["certificate"]).public_bytes(Encoding.PEM).decode()
    return Call(method, path, headers, certificate)
