"""Trust rules: their clients, their issuers' keys, and rules that admit too much."""

from authorizer.errors import InvalidTokenError
from functions.shared.clients.trust_rule import TrustRule
from functions.shared.web.oauth_errors import TemporarilyUnavailableError

from ..output import counted
from ..rule_explanations import server_of
from ..rules import excess, overlapping
from .context import CheckContext, Checks, Findings, failure, warning

CHECKS = Checks()

_SHARED_PREFIXES = (
    *("arn:", "arn:aws:", "arn:aws:iam::", "arn:aws:sts::", "organization:", "project_path:", "repo:"),
    *("repository:", "repository_id:", "spiffe://", "system:serviceaccount:", "urn:", "https://"),
)
"""Prefixes that subjects of many owners have. A pattern that only fixes one of them matches anyone's."""

_NO_KEY = "gatehouse-doctor-has-no-key"


@CHECKS.add("rules", "records")
def records(context: CheckContext) -> Findings:
    """Each rule's record can be read. Endpoints ignore one that cannot."""
    for seen in context.rules:
        if seen.fault:
            yield failure(
                f"{seen.name} cannot be read, and matches nothing: {seen.fault}",
                f"gatehouse rules remove {seen.name}, and apply it again.",
            )
    return f"{counted(len(context.rules), 'record')}, and every one can be read"


@CHECKS.add("rules", "clients")
def clients(context: CheckContext) -> Findings:
    """The client of each rule exists, is enabled, and may get what the rule gives."""
    known = {client.client_id: client for client in context.clients}
    for rule in _enabled(context):
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
        (rule.jwks_uri, rule.spiffe_bundle_endpoint, rule.issuer): rule for rule in _enabled(context) if not rule.jwks
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
    for one, other in overlapping(_enabled(context)):
        yield failure(
            f"one assertion could match {one.name} and {other.name}, and is then refused",
            "Add a condition that separates them, or disable one.",
        )
    return "no two rules overlap"


@CHECKS.add("rules", "conditions")
def conditions(context: CheckContext) -> Findings:
    """Each rule names its subjects: an issuer may have subjects of many owners."""
    for rule in _enabled(context):
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


def _enabled(context: CheckContext) -> list[TrustRule]:
    return [seen.readable for seen in context.rules if seen.readable and not seen.readable.disabled]
