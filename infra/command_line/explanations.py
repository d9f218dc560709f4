"""The authorizer's way to a decision in plain words, step by step.

The decision and the reason are the authorizer's own. What is added is what each step had before it.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from authorizer import jws, strict_json
from authorizer.errors import AuthorizerError, TokenRefused
from infra.command_line.times import readable, span
from infra.command_line.verdicts import Stage, in_words, stage_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from authorizer.routes import Route
    from authorizer.settings import Settings
    from functions.shared.keys.key_ring import KeyRing
    from infra.command_line.authorizer_copy import AuthorizerCopy, Call

_JWT_STAGES: Final = tuple(stage for stage in Stage if stage is not Stage.INTROSPECTION)
_OPAQUE_STAGES: Final = (Stage.READ, Stage.INTROSPECTION, Stage.POSSESSION, Stage.SCOPES)
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


@dataclass(frozen=True)
class _Known:
    """What the steps are explained with."""

    text: str
    copy: AuthorizerCopy
    ring: KeyRing | None
    ring_trouble: str
    now: float
    context: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        return self.copy.settings

    @property
    def header(self) -> dict[str, object]:
        return _object(self.text, 0)

    @property
    def claims(self) -> dict[str, object]:
        return _object(self.text, 1)


def explain(  # noqa: PLR0913 - a decision, and all that was before it
    text: str,
    call: Call | None,
    outcome: AuthorizerError | Mapping[str, Any],
    *,
    copy: AuthorizerCopy,
    ring: KeyRing | None,
    ring_trouble: str,
    now: float,
) -> Explanation:
    """Explain an outcome: the authorizer's answer, or what it raised.

    Without a call the explanation ends with what the token opens.
    """
    is_jwt = jws.looks_like_jws(text)
    refused = outcome if isinstance(outcome, AuthorizerError) else None
    answer = {} if isinstance(outcome, AuthorizerError) else outcome
    known = _Known(text, copy, ring, ring_trouble, now, answer.get("context", {}))
    stages = _JWT_STAGES if is_jwt else _OPAQUE_STAGES
    steps = list(_steps(known, stages, refused))
    claims = known.claims if is_jwt else dict(known.context) or None
    if any(step.passed is not True for step in steps if step.stage == Stage.SIGNATURE):
        claims = None  # nobody has vouched for them
    if refused is not None:
        status = _UNAUTHORIZED if isinstance(refused, TokenRefused) else _TROUBLE
        decision = (
            f"Refused: {in_words(refused.reason)} The caller gets 401."
            if status == _UNAUTHORIZED
            else f"Not decided: {in_words(refused.reason)} The caller gets 500."
        )
        return Explanation(status, decision, refused.reason.value, steps, claims)
    document = answer["policyDocument"]
    if call is None:
        opens = _opened(document)
        status = _OK if opens else _FORBIDDEN
        decision = f"A good token. It opens {', '.join(opens) or 'nothing here'}."
        return Explanation(status, decision, None, steps, claims)
    return _of_request(known, call, document, [*steps], claims)


def _of_request(
    known: _Known,
    call: Call,
    document: Mapping[str, Any],
    steps: list[Step],
    claims: Mapping[str, object] | None,
) -> Explanation:
    request = f"{call.method} {call.path}"
    found = matching_statement(document, known.copy.resource(call.method, call.path))
    if found is not None and found["Effect"] == "Allow":
        says = [f"Allow {found['Resource']}"]
        if "until" in found:
            says.append(f"until {found['until']}, when the token ends")
        steps.append(Step("policy", passed=True, says=says))
        decision = f"{request} is let through, and the caller gets what the API answers."
        return Explanation(_OK, decision, None, steps, claims, found)
    says = [f"Deny {found['Resource']}"] if found else ["no statement names the request"]
    steps.append(Step("policy", passed=False, says=[*says, *_needed(known, call)]))
    decision = f"{request} is denied: the token is good, and does not open it. The caller gets 403."
    return Explanation(_FORBIDDEN, decision, "scope_insufficient", steps, claims, found)


def matching_statement(document: Mapping[str, Any], resource: str) -> dict[str, str] | None:
    """Return the statement of the authorizer's policy that decides about a resource, if any does.

    Deny wins, and `*` takes any run of characters, slashes too.
    """
    for effect in ("Deny", "Allow"):
        for statement in document["Statement"]:
            if statement["Effect"] != effect:
                continue
            for pattern in statement["Resource"]:
                if re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), resource, re.DOTALL):
                    until = (
                        statement.get("Condition", {})
                        .get("DateLessThanIfExists", {})
                        .get("aws:CurrentTime")
                    )
                    found = {"Effect": effect, "Resource": pattern}
                    return found | ({"until": until} if until else {})
    return None


def _steps(
    known: _Known, stages: Sequence[Stage], refused: AuthorizerError | None
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
            yield Step(stage, passed=False, says=[*_SEEN[stage](known), in_words(refused.reason)])
        else:
            yield Step(stage, passed=True, says=list(_SEEN[stage](known)))


def _read(known: _Known) -> Iterator[str]:
    kind = "a JWT" if jws.looks_like_jws(known.text) else "an opaque token"
    yield f"{kind} of {len(known.text)} characters"


def _header(known: _Known) -> Iterator[str]:
    header = known.header
    typ = header.get("typ")
    accepted = ", ".join(sorted(known.settings.algorithms))
    yield f"alg {header.get('alg')} (accepted: {accepted}), {f'typ {typ}' if typ else 'no typ'}"


def _issuer(known: _Known) -> Iterator[str]:
    yield f"{known.claims.get('iss')} (trusted: {known.settings.issuer})"


def _key(known: _Known) -> Iterator[str]:
    kid = str(known.header.get("kid"))
    yield f"{kid}"
    if known.ring is None:
        yield f"its times are not known here: {known.ring_trouble}"
        return
    key = next((each for each in known.ring.keys if each.kid == kid), None)
    if key is None:
        yield "it is not in the deployment's key ring"
        return
    signing = f"signs since {readable(key.sign_from)}, for {span(known.now - key.sign_from)} now"
    if known.now < key.sign_from:
        signing = f"is to sign from {readable(key.sign_from)} on"
    elif key.sign_until is not None and key.sign_until <= known.now:
        signing = f"signed from {readable(key.sign_from)} until {readable(key.sign_until)}"
    yield signing
    yield f"published until {readable(key.publish_until, otherwise='its successor is announced')}"


def _signature(known: _Known) -> Iterator[str]:
    yield f"of that key, over {known.text.rfind('.')} characters"


def _claims(known: _Known) -> Iterator[str]:
    claims, settings = known.claims, known.settings
    accepted = ", ".join(sorted(settings.audiences)) or "any"
    yield f"aud {_listed(claims.get('aud'))} (accepted: {accepted})"
    client = claims.get("client_id") or claims.get("azp")
    yield f"sub {claims.get('sub')}" + (f", client {client}" if client else "")
    yield from _times(claims, known.now)
    if "jti" in claims:
        yield f"jti {claims['jti']}"


def _times(claims: Mapping[str, object], now: float) -> Iterator[str]:
    for name, before, after in (
        ("iat", "issued {} ago", "issued in {}"),
        ("nbf", "valid for {} now", "valid in {}"),
        ("exp", "ended {} ago", "{} left"),
    ):
        value = claims.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 33:
            said = before if value <= now else after
            yield f"{name} {readable(value)}: {said.format(span(value - now))}"


def _introspection(known: _Known) -> Iterator[str]:
    yield f"asked {known.settings.introspection_uri}"
    if known.context:
        yield f"sub {known.context['sub']}, client {known.context['client_id']}"
        yield from _times({"exp": float(known.context["exp"])}, known.now)


def _revocation(known: _Known) -> Iterator[str]:
    if known.settings.deny_list_table is None:
        yield "not looked up (CheckRevokedTokens is false)"
    else:
        yield f"looked up in {known.settings.deny_list_table}, which is believed for "
        yield f"{span(known.settings.deny_list_soft_age)}"


def _possession(known: _Known) -> Iterator[str]:
    bound = known.claims.get("cnf") if jws.looks_like_jws(known.text) else None
    if isinstance(bound, dict) and bound:
        method = next(iter(bound))
        yield f"bound to a key by {'DPoP' if method == 'jkt' else 'a certificate'} ({method})"
    else:
        yield "bound to no key: whoever has the token can use it"


def _scopes(known: _Known) -> Iterator[str]:
    for scope in _scope_list(known):
        routes = known.copy.scope_map.routes_for(frozenset((scope,)))
        yield f"{scope} opens {', '.join(map(_route, routes)) or 'nothing by itself'}"


_SEEN: Final = {
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


def _scope_list(known: _Known) -> list[str]:
    """Return the scopes as the authorizer has read them: it is their reader."""
    return known.context.get("scope", "").split()


def _needed(known: _Known, call: Call) -> Iterator[str]:
    """Say which scopes would open a request."""
    resource = known.copy.resource(call.method, call.path)
    stage = resource.removesuffix(f"/{call.method}{call.path}")
    scopes = [
        scope
        for scope in sorted(known.copy.scope_map.scopes())
        if _opens(known, scope, stage, resource)
    ]
    if scopes:
        yield f"{' or '.join(scopes)} would open it"
    else:
        yield "no scope by itself opens it; where there is no such route, API Gateway says 404"


def _opens(known: _Known, scope: str, stage: str, resource: str) -> bool:
    from authorizer.policy import PolicyCompiler, write_policy  # noqa: PLC0415 - a denial's only

    compiled = PolicyCompiler(known.copy.scope_map).compile(frozenset((scope,)), stage)
    found = matching_statement(write_policy(compiled), resource)
    return found is not None and found["Effect"] == "Allow"


def _opened(document: Mapping[str, Any]) -> list[str]:
    """Return the routes that a policy opens, as patterns."""
    found = []
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            for resource in statement["Resource"]:
                method, _, path = resource.split("/", 2)[2].partition("/")
                found.append(f"{method} /{path}")
    return found


def _route(route: Route) -> str:
    method, _, path = route.pattern().partition("/")
    return f"{method} /{path}"


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _object(text: str, part: int) -> dict[str, object]:
    """Read a part of a JWT as far as it can be read: what does not fit has been refused."""
    segments = text.split(".")
    try:
        segment = segments[part]
        raw = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        return strict_json.parse_object(raw)
    except (IndexError, ValueError):
        return {}
