"""`gatehouse token inspect`: the authorizer's decision about a token, explained."""

import sys
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from rich.text import Text

from authorizer import jws, strict_json
from authorizer.errors import AuthorizerError, InvalidTokenError
from authorizer.policy import PolicyCompiler, write_policy
from authorizer.routes import Route, parse_route
from authorizer.settings import Settings
from functions.shared.keys.key_ring import KeyRing
from functions.shared.runtime.wildcards import matches_wildcards
from infra.cli.aws_errors import translated
from infra.cli.context import CommandContext, pass_context
from infra.cli.errors import CommandError, ExitCode
from infra.cli.input_files import STDIN, read_secret, read_text
from infra.cli.key_operations import KeyAdmin
from infra.cli.local_authorizer import DEFAULT, AuthorizerTarget, Call, LocalAuthorizer, address_of
from infra.cli.options import Command
from infra.cli.output import safe
from infra.cli.times import readable, span
from infra.cli.token_requests import read_key
from infra.explain import Stage, reason_text, stage_of


def matching_statement(document: Mapping[str, Any], resource: str) -> dict[str, str] | None:
    """Return the statement of a policy that decides about a resource, or None. Deny wins."""
    for effect in ("Deny", "Allow"):
        for statement in document["Statement"]:
            if statement["Effect"] != effect:
                continue
            for pattern in statement["Resource"]:
                if matches_wildcards(pattern, resource):
                    until = (
                        statement.get("Condition", {})
                        .get("DateLessThanIfExists", {})
                        .get("aws:CurrentTime")
                    )
                    found = {"Effect": effect, "Resource": pattern}
                    return found | ({"until": until} if until else {})
    return None


def opened(document: Mapping[str, Any]) -> list[str]:
    """Return the routes that a policy allows, as patterns: `GET /country/code/*`."""
    found = []
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            for resource in statement["Resource"]:
                method, _, path = resource.split("/", 2)[2].partition("/")
                found.append(f"{method} /{path}")
    return found


@dataclass(frozen=True)
class Known:
    """Data for the explanations of the steps."""

    text: str
    copy: LocalAuthorizer
    ring: KeyRing | None
    ring_trouble: str
    now: float
    context: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        """The authorizer's settings."""
        return self.copy.settings

    @property
    def header(self) -> dict[str, object]:
        """The unverified header of the token."""
        return _object(self.text, 0)

    @property
    def claims(self) -> dict[str, object]:
        """The unverified claims of the token."""
        return _object(self.text, 1)


def _rules(known: Known) -> Iterator[str]:
    yield f"rules of {known.copy.rules_name}"
    yield from known.copy.notices


def _read(known: Known) -> Iterator[str]:
    kind = "a JWT" if jws.looks_like_jws(known.text) else "an opaque token"
    yield f"{kind} of {len(known.text)} characters"


def _header(known: Known) -> Iterator[str]:
    header = known.header
    typ = header.get("typ")
    accepted = ", ".join(sorted(known.settings.algorithms))
    yield f"alg {header.get('alg')} (accepted: {accepted}), {f'typ {typ}' if typ else 'no typ'}"


def _issuer(known: Known) -> Iterator[str]:
    settings = known.settings
    trusted = [settings.issuer, *(other.issuer for other in settings.other_issuers)]
    yield f"{known.claims.get('iss')} (trusted: {', '.join(trusted)})"


def _key(known: Known) -> Iterator[str]:
    kid = str(known.header.get("kid"))
    yield f"{kid}"
    if known.ring is None:
        yield f"its times are unknown: {known.ring_trouble}"
        return
    key = next((each for each in known.ring.keys if each.kid == kid), None)
    if key is None:
        yield "not in the deployment's key ring"
        return
    signing = f"signs since {readable(key.sign_from)} ({span(known.now - key.sign_from)})"
    if known.now < key.sign_from:
        signing = f"signs from {readable(key.sign_from)}"
    elif key.sign_until is not None and key.sign_until <= known.now:
        signing = f"signed from {readable(key.sign_from)} until {readable(key.sign_until)}"
    yield signing
    yield f"published until {readable(key.publish_until, otherwise='a successor is announced')}"


def _signature(known: Known) -> Iterator[str]:
    yield f"valid for this key, over {known.text.rfind('.')} characters"


def _claims(known: Known) -> Iterator[str]:
    claims = known.claims
    accepted = ", ".join(sorted(known.copy.audiences)) or "any"
    yield f"aud {_listed(claims.get('aud'))} (accepted: {accepted})"
    client = next(
        (claims[name] for name in ("client_id", "azp", "cid", "appid") if claims.get(name)), None
    )
    yield f"sub {claims.get('sub', client)}" + (f", client {client}" if client else "")
    yield from _times(claims, known.now)
    if "jti" in claims:
        yield f"jti {claims['jti']}"


def _times(claims: Mapping[str, object], now: float) -> Iterator[str]:
    for name, before, after in (
        ("iat", "issued {} ago", "issued in {}"),
        ("nbf", "valid since {} ago", "valid in {}"),
        ("exp", "expired {} ago", "expires in {}"),
    ):
        value = claims.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 33:
            said = before if value <= now else after
            yield f"{name} {readable(value)}: {said.format(span(value - now))}"


def _introspection(known: Known) -> Iterator[str]:
    yield f"response of {known.settings.introspection_uri}"
    if known.context:
        yield f"sub {known.context['sub']}, client {known.context['client_id']}"
        yield from _times({"exp": float(known.context["exp"])}, known.now)


def _revocation(known: Known) -> Iterator[str]:
    if known.settings.deny_list_table is None:
        yield "not checked (CheckRevokedTokens is false)"
    else:
        yield f"not listed in {known.settings.deny_list_table}, cached for "
        yield f"{span(known.settings.deny_list_soft_age)}"


def _possession(known: Known) -> Iterator[str]:
    bound = known.claims.get("cnf") if jws.looks_like_jws(known.text) else None
    if isinstance(bound, dict) and bound:
        method = next(iter(bound))
        yield f"bound to a key by {'DPoP' if method == 'jkt' else 'a certificate'} ({method})"
    else:
        yield "not bound to a key: a bearer token"


def _scopes(known: Known) -> Iterator[str]:
    # The scopes as the authorizer has parsed them.
    for scope in known.context.get("scope", "").split():
        routes = known.copy.scope_map.routes_for(frozenset((scope,)))
        yield f"{scope} opens {', '.join(map(readable_route, routes)) or 'no route alone'}"


SEEN: Mapping[Stage, Callable[[Known], Iterable[str]]] = {
    Stage.RULES: _rules,
    Stage.READ: _read,
    Stage.HEADER: _header,
    Stage.ISSUER: _issuer,
    Stage.KEY: _key,
    Stage.SIGNATURE: _signature,
    Stage.CLAIMS: _claims,
    Stage.INTROSPECTION: _introspection,
    Stage.REVOCATION: _revocation,
    Stage.POSSESSION: _possession,
    Stage.SCOPES: _scopes,
}


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def readable_route(route: Route) -> str:
    """Return a route as text: `GET /country/code/*`."""
    method, _, path = route.pattern().partition("/")
    return f"{method} /{path}"


def _object(text: str, part: int) -> dict[str, object]:
    """Decode a part of a JWT; an empty object if that fails, because it has been rejected."""
    segments = text.split(".")
    try:
        segment = segments[part]
        raw = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        return strict_json.parse_object(raw)
    except (IndexError, ValueError):
        return {}


_JWT_STAGES = tuple(stage for stage in Stage if stage is not Stage.INTROSPECTION)
_OPAQUE_STAGES = (
    Stage.RULES,
    Stage.READ,
    Stage.INTROSPECTION,
    Stage.POSSESSION,
    Stage.SCOPES,
)
_OK, _UNAUTHORIZED, _FORBIDDEN, _TROUBLE = 200, 401, 403, 500


@dataclass(frozen=True)
class Step:
    """A check: passed, failed, or not reached (None)."""

    stage: str
    passed: bool | None
    says: Sequence[str] = ()


@dataclass(frozen=True)
class Explanation:
    """A decision. `status` is what the caller gets; 200 means that the API answers."""

    status: int
    decision: str
    reason: str | None
    steps: Sequence[Step]
    claims: Mapping[str, object] | None = None
    statement: Mapping[str, str] | None = field(default=None)


def explain(
    known: Known, call: Call | None, outcome: AuthorizerError | Mapping[str, Any]
) -> Explanation:
    """Explain the authorizer's response or error; without a call, every open route."""
    is_jwt = jws.looks_like_jws(known.text)
    refused = outcome if isinstance(outcome, AuthorizerError) else None
    steps = list(_steps(known, _stages(known, is_jwt=is_jwt), refused))
    claims = known.claims if is_jwt else dict(known.context) or None
    if any(step.passed is not True for step in steps if step.stage == Stage.SIGNATURE):
        claims = None  # not verified
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
    if isinstance(refused, InvalidTokenError):
        status, said = (
            _UNAUTHORIZED,
            f"Rejected: {reason_text(refused.reason)} The caller gets 401.",
        )
    else:
        status, said = _TROUBLE, f"Not decided: {reason_text(refused.reason)} The caller gets 500."
    return Explanation(status, said, refused.reason.value, steps, claims)


def _of_all(
    routes: Sequence[str], steps: list[Step], claims: Mapping[str, object] | None
) -> Explanation:
    decision = f"Valid token. It opens {', '.join(routes) or 'no route'}."
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
            says.append(f"until {found['until']}, when the token expires")
        steps.append(Step("policy", passed=True, says=says))
        return Explanation(_OK, _let_through(call), None, steps, claims, found)
    says = [f"Deny {found['Resource']}"] if found else ["no statement matches the request"]
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
    """Explain a simple response, which is about the one route that API Gateway has chosen."""
    scopes = frozenset(known.context.get("scope", "").split())
    routes = known.copy.scope_map.routes_for(scopes)
    if call is None:
        return _of_all([readable_route(route) for route in routes], steps, claims)
    route = known.copy.route(call)
    says = [f"isAuthorized {str(answer['isAuthorized']).lower()} for {route}"]
    if answer["isAuthorized"]:
        steps.append(Step("route", passed=True, says=says))
        return Explanation(_OK, _let_through(call), None, steps, claims)
    if route == DEFAULT:
        says.append("no route of the scope map matches; name another route of the API with --route")
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
    return f"{call.method} {call.path} is allowed, and the caller gets the response of the API."


def _denied(call: Call) -> str:
    return (
        f"{call.method} {call.path} is denied: the token is valid, but its scopes do not open it. "
        "The caller gets 403."
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
            yield Step(stage, passed=False, says=[*SEEN[stage](known), reason_text(refused.reason)])
        else:
            yield Step(stage, passed=True, says=list(SEEN[stage](known)))


def _needed(known: Known, call: Call) -> list[str]:
    """Return the scopes that would each open a request."""
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
    return "no single scope opens it; without such a route API Gateway returns 404"


_FILE = click.Path(path_type=Path)
_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}


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
    "--api",
    metavar="ID",
    help="API of another stack with the shared authorizer and its own rules, as ID or ID/STAGE.",
)
@click.option("--function", metavar="NAME", help="Another authorizer: name or ARN of its function.")
@click.option(
    "--settings",
    type=_FILE,
    help="Another authorizer: file with its environment variables, YAML or JSON.",
)
@click.option(
    "--scope-map",
    type=_FILE,
    help="File that replaces the deployed scope map or, with --api, the API's rules.",
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

    FILE contains the token; without FILE it is read from stdin or a prompt. The authorizer's own
    code decides, with the deployed settings and rules and this machine's clock.
    """
    names = ("api", "function", "settings", "scope_map", "route")
    copy = LocalAuthorizer(context, AuthorizerTarget(**{name: given[name] for name in names}))
    with context.terminal.progress("Reading the authorizer's settings"):
        copy.settings  # noqa: B018 - finds the deployment before a token is typed
    text = read_token(file)
    method, path = given["request"] or ("GET", "/")
    call = _call(copy, text, (method.upper(), path.partition("?")[0]), given)
    with context.terminal.progress("Fetching the issuer's keys"):
        explanation = _explained(copy, text, call, whole=given["request"] is None)
    _show(context, explanation)
    if explanation.status != HTTPStatus.OK:
        click.get_current_context().exit(ExitCode.REFUSED)


def read_token(file: Path) -> str:
    """Return the token in a file, from stdin, or typed at a prompt if stdin is a terminal."""
    is_typed = file == STDIN and sys.stdin.isatty()
    return read_secret("The token", None if is_typed else file).strip()


def _explained(copy: LocalAuthorizer, text: str, call: Call, *, whole: bool) -> Explanation:
    context = copy.context
    ring, trouble = _ring(context)
    outcome: AuthorizerError | dict[str, Any]
    try:
        outcome = copy.judge(call).output
    except AuthorizerError as error:
        outcome = error
    said: dict[str, Any] = {} if isinstance(outcome, AuthorizerError) else outcome
    known = Known(text, copy, ring, trouble, context.now(), said.get("context", {}))
    return explain(known, None if whole else call, outcome)


def _ring(context: CommandContext) -> tuple[KeyRing | None, str]:
    """Return the key ring, or the reason why it cannot be read."""
    try:
        return KeyAdmin(context).ring, ""
    except Exception as error:
        failure = translated(error)
        if failure is None:
            raise
        return None, failure.problem


def _call(
    copy: LocalAuthorizer, text: str, request: tuple[str, str], given: dict[str, Any]
) -> Call:
    method, path = request
    url = address_of(copy.address, path)
    headers = {"Authorization": f"Bearer {text}"}
    if given["dpop_key"]:
        key = read_key(given["dpop_key"])
        proof = key.proof(method, url, copy.context.now(), token=text)
        headers = {"Authorization": f"DPoP {text}", "DPoP": proof}
    certificate = _only_certificate(given["certificate"]) if given["certificate"] else None
    return Call(method, path, headers, certificate)


def _only_certificate(path: Path) -> str:
    """Return a file's certificate without a private key in the same file."""
    try:
        loaded = load_pem_x509_certificate(read_text(path).encode())
    except ValueError:
        raise CommandError(
            f"{path} does not contain a certificate.", "Use PEM.", ExitCode.USAGE
        ) from None
    return loaded.public_bytes(Encoding.PEM).decode()


def _show(context: CommandContext, explanation: Explanation) -> None:
    parts: list[str | Text] = [_rendered(step) for step in explanation.steps]
    context.terminal.show(
        asdict(explanation), *parts, Text(), safe(explanation.decision, style="bold")
    )


def _rendered(step: Step) -> Text:
    mark, style = _MARKS[step.passed]
    line = Text(f"{mark} ", style=style).append(f"{step.stage:<14}", style="bold")
    indent = "\n" + " " * 16
    return line.append(safe(indent.join(step.says), style="default" if step.says else "dim"))
