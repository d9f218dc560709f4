"""Clients and trust rules: secrets, keys of issuers, and how the authorizer decides about their tokens."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from authorizer.claims import CERTIFICATE, DPOP_KEY
from authorizer.errors import AuthorizerError, InvalidTokenError, Reason
from authorizer.jws import ALGORITHMS
from functions.shared.clients.client import Client, TokenFormat
from functions.shared.clients.client_registry import FRESH_SECONDS
from functions.shared.clients.client_secrets import SecretVerifier, StoredSecret, WrongSecretError
from functions.shared.clients.spiffe_rules import SpiffeRules
from functions.shared.clients.supported import SPIFFE_JWT, SPIFFE_X509
from functions.shared.clients.trust_bundle import TrustBundle
from functions.shared.clients.trust_rule import CLIENT_PREFIX, TrustRule, federated_clients, to_item
from functions.shared.lifetimes import DAY
from functions.shared.storage.state_table import SecretUses
from functions.shared.web.endpoint import INTROSPECTION_PATH
from functions.shared.web.oauth_errors import TemporarilyUnavailableError

from ...explain import reason_text
from ..documents import SECRET_METHODS
from ..local_authorizer import Call
from ..output import counted
from ..record_store import scan
from ..rule_explanations import server_of
from ..rules import excess, overlapping
from ..times import readable, span
from .context import CheckContext, Checks, Finding, Findings, failure, named, possible_audiences, warning

SOON = 14 * DAY
IDLE = 90 * DAY
_NO_TOKEN = "gatehouse-doctor-has-no-token"
_NO_KEY = "gatehouse-doctor-has-no-key"

CHECKS = Checks()


@CHECKS.add("clients", "records")
def records(context: CheckContext) -> Findings:
    """Each client's record can be read. Endpoints answer 500 for one that cannot."""
    for seen in context.registered:
        if seen.fault:
            yield failure(
                f"{seen.key} cannot be read, and is answered 500: {seen.fault}",
                f"gatehouse clients delete {seen.key}, and register it again.",
            )
    return f"{counted(len(context.registered), 'record')}, and every one can be read"


@CHECKS.add("clients", "secrets")
def secrets(context: CheckContext) -> Findings:
    """Clients have a valid secret, also in the near future."""
    for client in context.clients:
        if SECRET_METHODS & client.authentication_methods and not client.disabled:
            yield from _secret_faults(client, context.now)
    return f"every client has one that is valid for {span(SOON)} or more"


def _secret_faults(client: Client, now: float) -> Iterator[Finding]:
    rotate = f"gatehouse clients rotate-secret {client.client_id}."
    live = [secret for secret in client.secrets if secret.is_live(now)]
    others = client.authentication_methods - SECRET_METHODS
    if not live and not others:
        yield failure(f"{client.client_id} has no valid secret: it gets no tokens", rotate)
    elif live and all(_ends_by(secret, now + SOON) for secret in live):
        last = max(secret.expires_at or 0 for secret in live)
        coming = [each for each in client.secrets if each not in live and not _ends_by(each, now)]
        if not coming:
            yield warning(f"the last secret of {client.client_id} ends on {readable(last)}", rotate)


def _ends_by(secret: StoredSecret, moment: float) -> bool:
    return secret.expires_at is not None and secret.expires_at <= moment


@CHECKS.add("clients", "idle secrets")
def idle_secrets(context: CheckContext) -> Findings:
    """Valid secrets are used."""
    uses = SecretUses(context.command.aws, context.deployment.resource("StateTable"))
    for client in context.clients:
        used = [uses.last_used(client.client_id, each.digest) for each in client.secrets if each.is_live(context.now)]
        if idle := [each for each in used if each is not None and context.now - each > IDLE]:
            yield warning(
                f"a secret of {client.client_id} was last used on {readable(idle[-1])[:10]}",
                "A leaked secret stays usable: rotate the secret, or disable the client.",
            )
    return f"none has idled for {span(IDLE)}"


@CHECKS.add("clients", "SPIFFE bundles")
def spiffe_bundles(context: CheckContext) -> Findings:
    """The keys of each SPIFFE client's trust domain can be fetched, and fit its methods."""
    named_by: dict[str, set[str]] = {}
    for client in context.clients:
        if client.spiffe and not client.disabled:
            url = client.spiffe.spiffe_bundle_endpoint or client.spiffe.jwks_uri
            named_by.setdefault(url, set()).add(client.spiffe.trust_domain)
            yield from _bundle_faults(context, client, client.spiffe)
    for url, trust_domains in named_by.items():
        if url and len(trust_domains) > 1:
            yield failure(
                f"{url} is registered as the bundle of {named(trust_domains)}: each could sign for the other",
                "Register the endpoint of each trust domain: gatehouse clients update.",
            )
    return f"{counted(sum(map(len, named_by.values())), 'trust domain')}, and every bundle can be read"


def _bundle_faults(context: CheckContext, client: Client, rules: SpiffeRules) -> Iterator[Finding]:
    update = f"Correct the endpoint: gatehouse clients update {client.client_id}."
    server = server_of(context.command)
    try:
        if rules.jwks_uri:
            with suppress(InvalidTokenError):
                server.remote_jwks().find(rules.jwks_uri, _NO_KEY)
            return
        bundle = server.trust_bundles().current(rules)
    except TemporarilyUnavailableError as error:
        yield failure(f"{client.client_id} cannot authenticate: {error.reason}", update)
        return
    usable = _usable(bundle, context.now)
    for method in sorted(client.authentication_methods & usable.keys()):
        if not usable[method]:
            yield failure(
                f"{client.client_id} cannot use {method}: the bundle of {rules.trust_domain} has no valid key for it",
                update,
            )


def _usable(bundle: TrustBundle, now: float) -> dict[str, bool]:
    """Return for each method whether the bundle has a key that is valid now."""
    moment = datetime.fromtimestamp(now, UTC)
    return {
        SPIFFE_JWT: any(bundle.jwt_keys(alg).keys for alg in ALGORITHMS),
        SPIFFE_X509: any(
            each.not_valid_before_utc <= moment <= each.not_valid_after_utc for each in bundle.authorities
        ),
    }


@CHECKS.add("clients", "pointers")
def pointers(context: CheckContext) -> Findings:
    """Tokens of other issuers find their client without a client_id: the trust table has its pointers."""
    wanted = {_pointer(to_item(each)) for client in context.clients for each in federated_clients(client)}
    found = {
        _pointer(item)
        for item in scan(context.command.aws, context.deployment.resource("TrustTable"))
        if item["entry"]["S"].startswith(CLIENT_PREFIX)
    }
    for issuer, entry, _ in sorted(wanted - found):
        client_id = entry.removeprefix(CLIENT_PREFIX)
        yield warning(
            f"a token of {issuer} does not find {client_id}: its requests need a client_id",
            f"An earlier version registered it. Write it again: gatehouse clients update {client_id} --name NAME.",
        )
    for issuer, entry, _ in sorted(found - wanted):
        if (issuer, entry) not in {each[:2] for each in wanted}:
            yield warning(
                f"the trust table has an entry {entry} for {issuer} that no client needs",
                "Delete the item: another client may be refused because of it.",
            )
    return f"{counted(len(wanted), 'issuer')} of clients, and each has its pointer"


def _pointer(item: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return issuer, entry and the whole item of a pointer, for comparison."""
    return item["issuer"]["S"], item["entry"]["S"], json.dumps(item, sort_keys=True)


@CHECKS.add("clients", "disabled")
def disabled(context: CheckContext) -> Findings:
    """List disabled clients. Delete those that are no longer needed."""
    yield from ()  # a list, not a fault
    names = [client.client_id for client in context.clients if client.disabled]
    listed = f"disabled: {named(names)}" if names else "none is disabled"
    return f"{counted(len(context.clients), 'client')}, {listed}"


@CHECKS.add("clients", "audiences", of_sample_api=True)
def audiences(context: CheckContext) -> Findings:
    """Tokens are for an API, and this API takes tokens for itself only."""
    accepted = context.settings.audiences
    if not accepted:
        yield warning(
            "the authorizer accepts tokens for any audience, also those for other APIs",
            "Deploy with Audience, and register it as the clients' audience.",
        )
        return ""
    refused = [
        client.client_id
        for client in context.clients
        if client.grant_types and accepted.isdisjoint(possible_audiences(client))
    ]
    if refused:
        yield warning(
            f"no token of {named(refused)} can be for {named(accepted)}: this API refuses all of them",
            "Ignore this for clients of other APIs. Otherwise give them that audience.",
        )
    return f"every client can get tokens for {named(accepted)}"


@CHECKS.add("clients", "bound tokens", of_sample_api=True)
def bound_tokens(context: CheckContext) -> Findings:
    """Clients whose tokens are bound to a key meet an authorizer that takes proofs."""
    methods = context.settings.confirmation_methods
    refused = [
        client.client_id
        for client in context.clients
        if (client.dpop_bound_access_tokens and DPOP_KEY not in methods)
        or (client.tls_client_certificate_bound_access_tokens and CERTIFICATE not in methods)
    ]
    if methods and context.cache_seconds:
        yield failure(
            f"proofs are asked for, and decisions reused for {context.cache_seconds} s without any",
            "Deploy with AuthorizerCacheSeconds=0.",
        )
    if refused:
        yield warning(
            f"this API refuses the bound tokens of {named(refused)}",
            "Ignore this for clients of other APIs. Otherwise deploy with ProofOfPossession.",
        )
    return "no client gets bound tokens that this API would refuse"


@CHECKS.add("clients", "lifetimes", of_sample_api=True)
def lifetimes(context: CheckContext) -> Findings:
    """A decision is not reused for longer than a token lives."""
    cache = context.cache_seconds
    short = [client.client_id for client in context.clients if client.grant_types and client.token_lifetime < cache]
    if short:
        yield warning(
            f"API Gateway reuses a decision for {cache} s, and tokens of {named(short)} live "
            "shorter: some may be let through past their end",
            "Deploy with a smaller AuthorizerCacheSeconds, or let those tokens live longer.",
        )
    return f"tokens live longer than decisions are reused ({cache} s)"


@CHECKS.add("clients", "revocation", of_sample_api=True)
def revocation(context: CheckContext) -> Findings:
    """Report how long a revoked JWT is accepted."""
    yield from ()  # information, not a fault
    settings, cache = context.settings, context.cache_seconds
    if settings.deny_list_table is None:
        longest = max((client.token_lifetime for client in context.clients), default=0)
        return f"a revoked JWT counts here until it expires, {span(longest)} at most (CheckRevokedTokens=false)"
    return f"a revoked JWT counts here for {span(settings.deny_list_soft_age + cache)} more"


@CHECKS.add("clients", "introspection", of_sample_api=True)
def introspection(context: CheckContext) -> Findings:
    """The authorizer can introspect opaque tokens. It tries a token that was never issued."""
    opaque = _get_opaque_tokens(context)
    call = Call("GET", "/", {"Authorization": f"Bearer {_NO_TOKEN}"})
    try:
        context.authorizer.judge(call)
    except AuthorizerError as error:
        reason = error.reason
    else:
        reason = Reason.UNEXPECTED
    if reason is not Reason.TOKEN_INACTIVE and opaque:
        yield failure(
            f"opaque tokens of {named(opaque)} are answered with an error: {reason_text(reason)}",
            "Register the authorizer's client: 'make smoke STACK=…' does.",
        )
    elif reason is not Reason.TOKEN_INACTIVE:
        yield warning(
            f"no client gets opaque tokens, and none could be used: {reason_text(reason)}",
            "Register the authorizer's client before one does: 'make smoke STACK=…'.",
        )
    return "the authorizer's credentials are good, and an unknown token is not active"


def _get_opaque_tokens(context: CheckContext) -> list[str]:
    return [
        client.client_id
        for client in context.clients
        if client.token_format is TokenFormat.OPAQUE and client.grant_types
    ]


@CHECKS.add("clients", "the authorizer's own")
def own_client(context: CheckContext) -> Findings:
    """The client record that the authorizer introspects with is registered.

    The endpoint accepts a deleted or disabled client for a while, so this reads the record.
    """
    settings = context.settings
    if settings.introspection_uri != context.deployment.issuer + INTROSPECTION_PATH:
        return "the authorizer does not introspect here"
    client_id, secret = context.authorizer.credentials()
    client = next((each for each in context.clients if each.client_id == client_id), None)
    register = "Register it: 'make smoke STACK=…' does, and 'make run' on the laptop."
    if client is None:
        yield _locked_out(context, f"{client_id} is not registered", register)
    elif client.disabled:
        enable = f"gatehouse clients enable {client_id}."
        yield _locked_out(context, f"{client_id} is disabled", enable)
    else:
        try:
            SecretVerifier().verify(secret, client.secrets, context.now)
        except WrongSecretError:
            yield _locked_out(context, f"{client_id} is registered with another secret", register)
    return f"{client_id} is registered with the authorizer's secret"


def _locked_out(context: CheckContext, why: str, to_do: str) -> Finding:
    seen = (
        f"{why}: processes that know it otherwise follow within {FRESH_SECONDS} s, and then opaque "
        "tokens are answered 500"
    )
    return failure(seen, to_do) if _get_opaque_tokens(context) else warning(seen, to_do)


_SHARED_PREFIXES = (
    *("arn:", "arn:aws:", "arn:aws:iam::", "arn:aws:sts::", "organization:", "project_path:", "repo:"),
    *("repository:", "repository_id:", "spiffe://", "system:serviceaccount:", "urn:", "https://"),
)
"""Prefixes that subjects of many owners have. A pattern that only fixes one of them matches anyone's."""


@CHECKS.add("rules", "records")
def rule_records(context: CheckContext) -> Findings:
    """Each rule's record can be read. Endpoints ignore one that cannot."""
    for seen in context.rules:
        if seen.fault:
            yield failure(
                f"{seen.key} cannot be read, and matches nothing: {seen.fault}",
                f"gatehouse rules remove {seen.key}, and apply it again.",
            )
    return f"{counted(len(context.rules), 'record')}, and every one can be read"


@CHECKS.add("rules", "clients")
def rule_clients(context: CheckContext) -> Findings:
    """The client of each rule exists, is enabled, and may get what the rule gives."""
    known = {client.client_id: client for client in context.clients}
    for rule in _active_rules(context):
        client = known.get(rule.client_id)
        if client is None:
            yield failure(
                f"{rule.name} is for client {rule.client_id}, which does not exist",
                f"gatehouse clients create {rule.client_id}, or gatehouse rules remove {rule.name}.",
            )
            continue
        if client.disabled:
            yield warning(
                f"{rule.name} is for client {rule.client_id}, which is disabled",
                f"gatehouse clients enable {rule.client_id}, or gatehouse rules remove {rule.name}.",
            )
        for fault in excess(rule, client):
            yield failure(f"{rule.name}: {fault}", f"gatehouse clients update {rule.client_id}, or change the rule.")
    return "every rule has an enabled client that may get what the rule gives"


@CHECKS.add("rules", "issuers")
def issuers(context: CheckContext) -> Findings:
    """The keys of each issuer can be fetched."""
    server = server_of(context.command)
    keys, bundles = server.remote_jwks(), server.trust_bundles()
    sources = {
        (rule.jwks_uri, rule.spiffe_bundle_endpoint, rule.issuer): rule
        for rule in _active_rules(context)
        if not rule.jwks
    }
    for (jwks_uri, bundle_endpoint, issuer), rule in sorted(sources.items()):
        try:
            if bundle_endpoint:
                bundles.current(rule.workloads)
            elif jwks_uri:
                keys.find(jwks_uri, _NO_KEY)
            else:
                keys.find_by_issuer(issuer, _NO_KEY)
        except InvalidTokenError:
            continue  # the key set has no such key
        except TemporarilyUnavailableError as error:
            yield failure(
                f"{rule.name}: {error.reason}",
                "Its assertions are answered with 503. Check the issuer, or name its keys in jwks or jwks_uri.",
            )
    return f"the keys of {counted(len(sources), 'issuer')} can be fetched"


@CHECKS.add("rules", "overlaps")
def overlaps(context: CheckContext) -> Findings:
    """No assertion can match two rules. The token endpoint refuses one that does."""
    for one, other in overlapping(_active_rules(context)):
        yield failure(
            f"one assertion could match {one.name} and {other.name}, and is then refused",
            "Add a condition that separates them, or disable one.",
        )
    return "no two rules overlap"


@CHECKS.add("rules", "conditions")
def conditions(context: CheckContext) -> Findings:
    """Each rule names its subjects: an issuer may have subjects of many owners."""
    for rule in _active_rules(context):
        if all(map(_is_open, rule.claims.values())):
            shown = ", ".join(f"{name} {value}" for name, value in rule.claims.items()) or "no condition"
            yield warning(
                f"{rule.name} matches any subject of {rule.issuer} ({shown})",
                "Add a condition, such as the exact sub, repository or namespace.",
            )
    return "every rule limits its subjects"


def _is_open(condition: object) -> bool:
    """Return whether a condition is a pattern without the name of an owner, or has one as an alternative."""
    if isinstance(condition, list):
        return any(map(_is_open, condition))
    return isinstance(condition, str) and condition.endswith("*") and condition.removesuffix("*") in _SHARED_PREFIXES


def _active_rules(context: CheckContext) -> list[TrustRule]:
    return [seen.readable for seen in context.rules if seen.readable and not seen.readable.disabled]
