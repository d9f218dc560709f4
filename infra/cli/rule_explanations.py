"""`gatehouse rules explain` and `gatehouse rules test`: the token endpoint's decision about an assertion."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from authorizer import base64url
from authorizer.claims import refuse_other_kinds
from authorizer.errors import InvalidTokenError
from functions.issue_token.jwt_grant import (
    Obstacle,
    choose_rule,
    find_key,
    issuers_of,
    match_rule,
    parse_assertion,
    rule_accepts_until,
)
from functions.shared.authentication.client_assertion import dummy_key, verify_signature
from functions.shared.authentication.credentials import PresentedAssertion
from functions.shared.authorization_server import AuthorizationServer, ServerSettings
from functions.shared.clients.client import Client
from functions.shared.clients.supported import JWT_BEARER
from functions.shared.clients.trust_rule import GrantProfile, Match, TrustRule
from functions.shared.web.oauth_errors import InvalidGrantError, TemporarilyUnavailableError

from ..explain import reason_text
from .changes import is_same, text_of
from .context import CommandContext, pass_context
from .documents import RULES, FileKind, build_rule, read_file
from .errors import ExitCode
from .input_files import STDIN, is_token, read_secret, read_token
from .options import Command
from .output import TextTable, counted, safe
from .record_store import ClientTable, RuleTable, refuse_broken
from .times import parse_moment, readable, span
from .token_inspection import Step


@dataclass(frozen=True, slots=True)
class Decision:
    """The rules' outcomes for an assertion, and the token that it gets or why it gets none.

    `client` is the client of the rule, None if it does not exist. `times` and `signature` are None
    if they are in order, otherwise the problem; an unchecked signature is in `unchecked`.
    """

    assertion: PresentedAssertion
    outcomes: Sequence[tuple[TrustRule, Match | Obstacle]]
    rule: TrustRule | None
    match: Match | None
    obstacle: str | None
    client: Client | None = None
    times: str | None = None
    signature: str | None = None
    unchecked: str = ""

    @property
    def refusal(self) -> str | None:
        """Why the token endpoint refuses the assertion, None if it accepts it."""
        if self.rule is None:
            return self.obstacle
        name = self.rule.client_id
        if self.client is None or self.client.disabled:
            return f"client {name} is disabled or does not exist"
        if JWT_BEARER not in self.client.grant_types:
            return f"client {name} may not use the grant type {JWT_BEARER}"
        return self.signature or self.times

    @property
    def scopes(self) -> list[str]:
        """The scopes that a request may get."""
        if self.rule is None or self.client is None:
            return []
        scopes = self.rule.narrowed(self.client).scopes
        claimed = self.assertion.unverified_claims.get("scope")
        if self.rule.profile is GrantProfile.ID_JAG and isinstance(claimed, str):
            scopes &= set(claimed.split(" "))
        return sorted(scopes)

    @property
    def token(self) -> dict[str, Any] | None:
        """The token that the assertion gets, None if it is refused."""
        if self.refusal is not None or self.rule is None or self.match is None or self.client is None:
            return None
        return {
            "client_id": self.rule.client_id,
            "subject": self.match.subject,
            "scopes": self.scopes,
            "audiences": sorted(self.rule.audiences_of(self.client)),
            "lifetime": min(self.rule.lifetime, self.client.token_lifetime),
            "claims": {**self.match.copied, **self.client.claims},
            "needs_client_authentication": self.rule.requires_client,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the decision as JSON."""
        header, claims = self.assertion.jws.header, self.assertion.unverified_claims
        unfinished = self.refusal is None and self.unchecked
        return {
            "decision": "not decided" if unfinished else "accepted" if self.refusal is None else "refused",
            "reason": self.refusal or self.unchecked or None,
            "rule": self.rule and self.rule.name,
            "token": self.token,
            "header": {"alg": header.alg, "typ": header.typ, "kid": header.kid or None},
            "claims": claims,
            "rules": [_outcome_json(rule, outcome) for rule, outcome in self.outcomes],
            "signature": "not checked" if self.unchecked or self.rule is None else self.signature or "valid",
            "times": self.times or ("valid" if self.rule else "not checked"),
        }


def decide(
    assertion: PresentedAssertion,
    rules: Sequence[TrustRule],
    clients: Mapping[str, Client],
    *,
    issuer: str,
    wanted_client: str | None,
    now: float,
) -> Decision:
    """Decide by the rules, as the token endpoint does, without the signature."""
    issuers = issuers_of(assertion.unverified_claims, issuer)
    of_issuer = [rule for rule in rules if rule.issuer in issuers]
    outcomes = [(rule, match_rule(rule, assertion, issuer, wanted_client)) for rule in of_issuer]
    rule, match, obstacle = choose_rule(outcomes)
    if not of_issuer:
        obstacle = "the issuer is not trusted"
    times = None
    if rule is not None:
        try:
            refuse_other_kinds(assertion.unverified_claims)
            rule_accepts_until(assertion.unverified_claims, rule, now)
        except InvalidTokenError as error:
            times = f"{error.reason}: {reason_text(error.reason)}"
    client = clients.get(rule.client_id) if rule else None
    return Decision(assertion, outcomes, rule, match, obstacle, client, times)


def _with_signature(context: CommandContext, decision: Decision) -> Decision:
    """Check the signature with the keys of the matching rule."""
    rule, assertion = decision.rule, decision.assertion
    if rule is None:
        return decision
    server = server_of(context)
    finding = partial(find_key, rule, assertion, server.remote_jwks(), server.trust_bundles, None)
    signature, unchecked = None, ""
    try:
        verify_signature(assertion, finding, dummy_key(assertion.jws.header.alg))
    except InvalidTokenError as error:
        signature = f"{error.reason}: {reason_text(error.reason)}"
    except TemporarilyUnavailableError as error:
        unchecked = error.reason or error.description
    return replace(decision, signature=signature, unchecked=unchecked)


def server_of(context: CommandContext) -> AuthorizationServer:
    """Return the parts of the authorization server, with the caller's credentials."""
    deployment = context.deployment
    settings = ServerSettings(
        issuer=deployment.issuer,
        clients_table=deployment.resource("ClientsTable"),
        trust_table=deployment.resource("TrustTable"),
        tokens_table=deployment.resource("TokensTable"),
        state_table=deployment.resource("StateTable"),
        key_ring_secret=deployment.resource("KeyRingSecret"),
        remote_keys="loopback" if deployment.is_local else "",
    )
    return AuthorizationServer(settings, context.aws, context.now)


def _known(context: CommandContext, rules_file: Path | None) -> tuple[list[TrustRule], dict[str, Client]]:
    """Return the rules of the deployment or of a file, and the clients of the deployment."""
    with context.terminal.progress("Reading rules and clients"):
        if rules_file is None:
            rules = refuse_broken(RuleTable.of(context).list())
        else:
            rules = [build_rule(document) for document in read_file(rules_file, RULES)]
        clients = ClientTable.of(context)
        found = [clients.find(client_id) for client_id in sorted({rule.client_id for rule in rules})]
    return rules, {seen.key: seen.readable for seen in found if seen and seen.readable}


_rules_option = click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path),
    help="Decide by this rules file instead of the registered rules.",
)


@click.command(cls=Command)
@click.argument("token", default=str(STDIN), help="The assertion, a file with it, or - for stdin.")
@click.option("--client-id", help="Client that the request names or authenticates.")
@_rules_option
@pass_context
def explain(context: CommandContext, /, token: str, *, client_id: str | None, rules_file: Path | None) -> None:
    """Explain which rule an assertion matches; exit with 1 if the token endpoint refuses it.

    Names for each other rule the claims that do not meet it. Checks the signature if the keys can be fetched from here,
    otherwise the exit code is 4. Without TOKEN it is read from stdin or a prompt. No assertion is consumed.
    """
    rules, clients = _known(context, rules_file)
    text = token if is_token(token) else read_token(Path(token))
    try:
        assertion = parse_assertion(text)
    except InvalidGrantError as error:
        reason = error.reason or ""
        context.terminal.show({"decision": "refused", "reason": reason}, safe(f"Refused: {reason}.", style="bold"))
        click.get_current_context().exit(ExitCode.REFUSED)
    decision = decide(
        assertion, rules, clients, issuer=context.deployment.issuer, wanted_client=client_id, now=context.now()
    )
    with context.terminal.progress("Fetching the issuer's keys"):
        decision = _with_signature(context, decision)
    others = [rule for rule in rules if all(rule is not each for each, _ in decision.outcomes)]
    context.terminal.show(
        decision.to_json(), *_steps(decision, others, context.now()), "", safe(_sentence(decision), style="bold")
    )
    if decision.refusal is not None:
        click.get_current_context().exit(ExitCode.REFUSED)
    if decision.unchecked:
        click.get_current_context().exit(ExitCode.FAILURE)


def _steps(decision: Decision, others: Sequence[TrustRule], now: float) -> Iterator[Step]:
    header, claims = decision.assertion.jws.header, decision.assertion.unverified_claims
    kind = f"typ {header.typ}" if header.typ else "no typ"
    yield Step(
        "assertion",
        passed=True,
        says=[f"alg {header.alg}, {kind}, kid {header.kid or 'none'}", *_shown_claims(claims, now)],
    )
    for rule, outcome in decision.outcomes:
        yield Step("rule", passed=isinstance(outcome, Match), says=[*_explained(rule, outcome)])
    if others:
        names = ", ".join(f"{rule.name} ({rule.issuer})" for rule in others)
        yield Step("other issuers", passed=None, says=[names])
    if decision.rule is None:
        return
    yield Step("times", passed=decision.times is None, says=[decision.times or "valid now"])
    passed = None if decision.unchecked else decision.signature is None
    yield Step("signature", passed=passed, says=[decision.unchecked or decision.signature or "valid"])


def _shown_claims(claims: Mapping[str, object], now: float) -> Iterator[str]:
    for name, value in claims.items():
        if name in {"exp", "iat", "nbf"} and isinstance(value, int) and 0 <= value < 1 << 33:
            distance = f"{span(now - value)} ago" if value <= now else f"in {span(value - now)}"
            yield f"{name} {readable(value)}: {distance}"
        else:
            yield f"{name} {text_of(value)}"


def _explained(rule: TrustRule, outcome: Match | Obstacle) -> Iterator[str]:
    if isinstance(outcome, Match):
        yield f"{rule.name} matches: sub {outcome.subject}, client {rule.client_id}"
        yield from (f"copied: {name} {text_of(value)}" for name, value in outcome.copied.items())
        return
    if not outcome.failed:
        yield f"{rule.name} does not match: {outcome.reason}"
        return
    yield f"{rule.name} does not match"
    for claim in outcome.failed:
        found = "it is missing" if claim.found is None else f"found {text_of(claim.found)}"
        yield f"{claim.name}: expected {text_of(claim.expected)}, {found}"


def _sentence(decision: Decision) -> str:
    if decision.refusal is not None:
        return f"Refused: {decision.refusal.rstrip('.')}."
    if decision.unchecked:
        return "Not decided: the signature could not be checked from here."
    assert decision.rule is not None
    scopes = f"at most {' '.join(decision.scopes)}" if decision.scopes else "no scopes"
    return f"Accepted by rule {decision.rule.name}: a token for client {decision.rule.client_id} with {scopes}."


def _outcome_json(rule: TrustRule, outcome: Match | Obstacle) -> dict[str, Any]:
    is_match = isinstance(outcome, Match)
    return {
        "name": rule.name,
        "matches": is_match,
        "reason": None if isinstance(outcome, Match) else outcome.reason,
        "failed": []
        if isinstance(outcome, Match)
        else [{"claim": each.name, "expected": each.expected, "found": each.found} for each in outcome.failed],
    }


TESTS = FileKind("tests", "test", "name", "rule_tests_schema.yaml")


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path), help="Tests, YAML or JSON.")
@_rules_option
@pass_context
def test(context: CommandContext, file: Path, *, rules_file: Path | None) -> None:
    """Compare decisions about captured assertions with expected ones; exit with 1 if one differs.

    Each assertion is decided at its own time, by the registered rules or those of --rules, before
    they are applied. Signatures are not checked, because an issuer's keys change.
    """
    documents = read_file(file, TESTS)
    rules, clients = _known(context, rules_file)
    deciding = partial(decide, rules=rules, clients=clients, issuer=context.deployment.issuer)
    outcomes = []
    for document in documents:
        got = _token_or_refusal(document, file.parent, deciding)
        differences = [*_differences(document["expect"], got)]
        outcomes.append({"name": document["name"], "passed": not differences, "differences": differences, "got": got})
    passed = sum(each["passed"] for each in outcomes)
    failed = len(outcomes) - passed
    rows = [
        (each["name"], "passed" if each["passed"] else "failed", "\n".join(each["differences"])) for each in outcomes
    ]
    context.terminal.show(
        {"passed": passed, "failed": failed, "tests": outcomes},
        TextTable(("test", "result", "differences"), rows),
        safe(f"{counted(passed, 'test')} passed, {failed} failed.", style="bold"),
    )
    if failed:
        click.get_current_context().exit(ExitCode.REFUSED)


def _token_or_refusal(document: Mapping[str, Any], folder: Path, deciding: Any) -> dict[str, Any]:
    """Return the members of the token that a test can expect, or `refused` with the reason."""
    try:
        assertion = parse_assertion(_assertion_of(document, folder))
    except InvalidGrantError as error:
        return {"refused": error.reason}
    issued_at = assertion.unverified_claims.get("iat")
    now: float = issued_at if isinstance(issued_at, int | float) else 0
    at = document.get("at", now)
    now = parse_moment(at, now) if isinstance(at, str) else at
    decision: Decision = deciding(assertion, wanted_client=document.get("client_id"), now=now)
    token = decision.token
    if token is None:
        return {"refused": decision.refusal}
    names = ("client_id", "subject", "scopes", "claims")
    return {"rule": decision.rule and decision.rule.name, **{name: token[name] for name in names}}


def _differences(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> Iterator[str]:
    if "refused" in wanted:
        if "refused" not in got:
            yield f"expected a refusal, was accepted by {got['rule']}"
        elif wanted["refused"] not in str(got["refused"]):
            yield f"refused: expected {wanted['refused']}, got {got['refused']}"
        return
    if "refused" in got:
        yield f"refused: {got['refused']}"
        return
    for name, value in wanted.items():
        found = got[name]
        expected = sorted(value) if name == "scopes" else value
        if not is_same(expected, found):
            yield f"{name}: expected {text_of(expected)}, got {text_of(found)}"


def _assertion_of(document: Mapping[str, Any], folder: Path) -> str:
    """Return the assertion of a test. One that is made of claims has an invalid signature."""
    if "token_file" in document:
        return read_secret(f"The token of {document['name']}", folder / document["token_file"]).strip()
    if "token" in document:
        return str(document["token"]).strip()
    header = {"alg": "RS256", "kid": "test", **document.get("header", {})}
    parts = [json.dumps(part).encode() for part in (header, document["claims"])]
    return ".".join(map(base64url.encode, (*parts, b"\0" * 256)))
