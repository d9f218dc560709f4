"""Trust rules: which JWTs of other issuers are authorization grants, and for which client (RFC 7523, 2.1).

A rule names a registered client, and can only narrow what that client may get.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from authorizer import strict_json
from authorizer.claims import MAX_TEXT_LENGTH, is_scope
from authorizer.jwk import KeySet
from authorizer.jws import ALGORITHMS, with_both_names

from ..lifetimes import LONGEST_TOKEN_LIFETIME
from ..storage import dynamodb_items
from ..storage.dynamodb_items import plain_values, read_plain, text
from ..storage.errors import StorageCorruptError
from .additional_claims import check_claims, check_names
from .assertion_rules import (
    DEFAULT_MAX_AGE,
    LONGEST_MAX_AGE,
    FederationRule,
    check_inline_keys,
    check_issuer,
    check_url,
    matches_wildcards,
    read_key_set,
)
from .client import Client, is_client_id
from .spiffe_rules import SpiffeRules, admits, overlap, parse_spiffe_id
from .supported import FEDERATED_JWT, SPIFFE, SPIFFE_JWT, SPIFFE_X509, SVID_ALGORITHMS

SCHEMA_VERSION = 1
DEFAULT_LIFETIME = 3600
MAX_CONDITIONS_LENGTH = 4096
"""Bytes of the conditions of one rule, as compact JSON."""

MAX_ALTERNATIVES = 50
"""Members of a list in a condition."""

MAX_MEMBERS = 200
"""Members of a list in a claim that are compared. Entra ID writes at most as many groups into a JWT."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
RULE_PREFIX = "rule#"
CLIENT_PREFIX = "client#"

_TRUST_DOMAIN = re.compile(r"spiffe://[a-z0-9._-]{1,255}")


class GrantProfile(StrEnum):
    """The kind of assertion. JWT: RFC 7523. ID_JAG: draft-ietf-oauth-identity-assertion-authz-grant."""

    JWT = "jwt"
    ID_JAG = "id-jag"


ID_JAG_TYPE = "oauth-id-jag+jwt"
"""The `typ` of an ID-JAG in lower case; required for this profile and refused for the other."""


@dataclass(frozen=True, slots=True)
class FailedClaim:
    """A claim that does not meet a rule. `found` is None if it is missing."""

    name: str
    expected: object
    found: object


@dataclass(frozen=True, slots=True)
class Match:
    """The token's subject, and the claims to copy, for an assertion that meets a rule."""

    subject: str
    copied: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRule:
    """A rule for assertions of one issuer, which is compared byte for byte.

    `claims` are conditions by claim. A text may have one `*` for any characters, but not first; a
    list has alternatives; an object has conditions for members; other JSON is compared exactly. A
    claim with a list meets a condition if one of its members does.

    `audience` replaces this server's issuer as the required `aud`. `accepts_token_endpoint` also
    accepts the URL of the token endpoint.

    The issuer of JWT-SVIDs is their trust domain, such as `spiffe://example.org`.

    The keys are in `jwks`, at `jwks_uri`, in the bundle at `spiffe_bundle_endpoint` (trust domains only), or found by
    discovery. `algorithms` narrows the supported algorithms. An assertion is accepted until `max_age` seconds after
    `iat`, and only once with `one_time`; an ID-JAG is always accepted once.

    Tokens are issued to the client `client_id`. With `authenticates_client`, the request must
    authenticate it, as always for an ID-JAG. Their subject is `subject`, or the assertion's `sub`.
    Without `scopes` or `audiences` those of the client are allowed. They expire after `lifetime`
    seconds at the latest. `copied_claims` are copied from the assertion, if it has them.
    """

    name: str
    issuer: str
    client_id: str
    profile: GrantProfile = GrantProfile.JWT
    claims: Mapping[str, object] = field(default_factory=dict)
    audience: str = ""
    accepts_token_endpoint: bool = False
    jwks: str = ""
    jwks_uri: str = ""
    spiffe_bundle_endpoint: str = ""
    algorithms: frozenset[str] = frozenset()
    max_age: int = DEFAULT_MAX_AGE
    one_time: bool = False
    authenticates_client: bool = False
    subject: str = ""
    scopes: frozenset[str] = frozenset()
    audiences: frozenset[str] = frozenset()
    lifetime: int = DEFAULT_LIFETIME
    copied_claims: frozenset[str] = frozenset()
    disabled: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise ValueError("A rule's name is 1 to 128 letters, digits, dots, hyphens and underscores.")
        if not is_client_id(self.client_id):
            raise ValueError("A client_id is 1 to 128 visible ASCII characters.")
        _check_keys(self)
        _check_conditions(self)
        if not 0 < self.max_age <= LONGEST_MAX_AGE:
            raise ValueError(f"An assertion is accepted for 1 to {LONGEST_MAX_AGE} seconds.")
        if not 1 < self.lifetime <= LONGEST_TOKEN_LIFETIME:
            raise ValueError(f"A token lives 2 to {LONGEST_TOKEN_LIFETIME} seconds.")
        if not all(map(is_scope, self.scopes)) or not all(self.audiences):
            raise ValueError("A scope or an audience is not valid.")
        if len(self.subject) > MAX_TEXT_LENGTH or not (self.subject.isascii() and self.subject.isprintable()):
            raise ValueError(f"A subject is 1 to {MAX_TEXT_LENGTH} visible ASCII characters.")
        check_names(self.copied_claims)

    @property
    def accepted_algorithms(self) -> frozenset[str]:
        """The algorithms that the issuer may sign with."""
        supported = SVID_ALGORITHMS if self.is_for_svids else ALGORITHMS
        return with_both_names(self.algorithms) & supported if self.algorithms else supported

    @property
    def is_for_svids(self) -> bool:
        """True if the issuer is a SPIFFE trust domain."""
        return self.issuer.startswith(SPIFFE)

    @property
    def workloads(self) -> SpiffeRules:
        """The trust domain, with its bundle endpoint."""
        return SpiffeRules(spiffe_id=f"{self.issuer}/*", spiffe_bundle_endpoint=self.spiffe_bundle_endpoint)

    @property
    def key_set(self) -> KeySet:
        """The keys in `jwks`; raises ValueError."""
        return read_key_set(self.jwks, "")

    @property
    def is_one_time(self) -> bool:
        """True if each assertion is accepted once."""
        return self.one_time or self.profile is GrantProfile.ID_JAG

    @property
    def requires_client(self) -> bool:
        """True if the request must authenticate the client."""
        return self.authenticates_client or self.profile is GrantProfile.ID_JAG

    def admits_type(self, typ: str | None) -> bool:
        """Return whether an assertion's `typ` is that of the profile."""
        return (typ == ID_JAG_TYPE) is (self.profile is GrantProfile.ID_JAG)

    def accepted_audiences(self, server: str, token_endpoint: str) -> frozenset[str]:
        """Return the values of `aud` that name this server, with `server` as its issuer."""
        accepted = {self.audience or server}
        return frozenset(accepted | {token_endpoint} if self.accepts_token_endpoint else accepted)

    def narrowed(self, client: Client) -> Client:
        """Return the rule's client with the scopes that the rule allows."""
        scopes = client.scopes & self.scopes if self.scopes else client.scopes
        return replace(client, scopes=scopes, default_scopes=tuple(filter(scopes.__contains__, client.default_scopes)))

    def audiences_of(self, client: Client) -> frozenset[str]:
        """Return the audiences of the rule's client that the rule allows."""
        audiences = frozenset((*client.audience, *client.allowed_resources))
        return audiences & self.audiences if self.audiences else audiences

    def match(self, claims: Mapping[str, object]) -> Match | list[FailedClaim]:
        """Return the match, or each claim that does not meet the rule. Takes linear time.

        Audience, times and signature are not checked here.
        """
        failed = [
            FailedClaim(name, wanted, claims.get(name))
            for name, wanted in self.claims.items()
            if name not in claims or not _meets(wanted, claims[name])
        ]
        if self.profile is GrantProfile.ID_JAG and claims.get("client_id") != self.client_id:
            failed.append(FailedClaim("client_id", self.client_id, claims.get("client_id")))
        copied = {name: claims[name] for name in sorted(self.copied_claims) if name in claims}
        try:
            check_claims(copied)
        except ValueError as error:
            failed.append(FailedClaim(", ".join(copied), str(error), None))
        subject = claims.get("sub")
        workload = parse_spiffe_id(subject)
        if self.is_for_svids and (workload is None or SPIFFE + workload.trust_domain != self.issuer):
            failed.append(FailedClaim("sub", f"a SPIFFE ID of {self.issuer}", subject))
        if not isinstance(subject, str) or not subject:
            failed.append(FailedClaim("sub", "a text", subject))
            return failed
        return failed or Match(self.subject or subject, copied)

    def overlaps(self, other: TrustRule) -> bool:
        """Return whether one assertion could match both rules."""
        if self.disabled or other.disabled:
            return False
        if self.issuer != other.issuer or self.profile is not other.profile or self.audience != other.audience:
            return False
        if self.profile is GrantProfile.ID_JAG and self.client_id != other.client_id:
            return False
        return not _contradict(dict(self.claims), dict(other.claims))


def _check_keys(rule: TrustRule) -> None:
    is_trust_domain = _TRUST_DOMAIN.fullmatch(rule.issuer) is not None
    if not is_trust_domain:
        check_issuer("The issuer of a rule", rule.issuer)
    if sum(map(bool, (rule.jwks, rule.jwks_uri, rule.spiffe_bundle_endpoint))) > 1:
        raise ValueError("A rule has one of jwks, jwks_uri and spiffe_bundle_endpoint.")
    if rule.jwks_uri:
        check_url("jwks_uri", rule.jwks_uri)
    elif rule.spiffe_bundle_endpoint:
        if not is_trust_domain:
            raise ValueError("The issuer of a rule with spiffe_bundle_endpoint is a trust domain.")
        check_url("spiffe_bundle_endpoint", rule.spiffe_bundle_endpoint)
    elif rule.jwks:
        check_inline_keys(rule.key_set)
    elif is_trust_domain:
        raise ValueError(
            "A trust domain has no discovery: the rule needs its spiffe_bundle_endpoint, or jwks_uri or jwks."
        )
    if not ALGORITHMS.issuperset(rule.algorithms):
        raise ValueError(f"An assertion is signed with one of {', '.join(sorted(ALGORITHMS))}.")


def _check_conditions(rule: TrustRule) -> None:
    if rule.profile is GrantProfile.ID_JAG:
        if rule.audience:
            raise ValueError("The audience of an ID-JAG is the issuer of this server.")
        if rule.claims.get("client_id", rule.client_id) != rule.client_id:
            raise ValueError("The claim client_id of an ID-JAG is the client of the rule.")
    elif not rule.claims:
        raise ValueError("A rule needs a condition for a claim: it would accept every token of the issuer.")
    try:
        encoded = json.dumps(dict(rule.claims), allow_nan=False)
        is_json = strict_json.parse_object(encoded.encode()) == rule.claims
    except (TypeError, ValueError, RecursionError):
        is_json = False
    if not is_json:
        raise ValueError("The conditions of a rule are a JSON object.")
    if len(encoded) > MAX_CONDITIONS_LENGTH:
        raise ValueError(f"The conditions of a rule have at most {MAX_CONDITIONS_LENGTH} bytes as JSON.")
    for name, wanted in rule.claims.items():
        if name in {"iss", "aud", "exp", "nbf", "iat", "jti"}:
            raise ValueError(f"The claim {name} is always checked: remove its condition.")
        _check_condition(name, wanted)


def _check_condition(name: str, wanted: object) -> None:
    if isinstance(wanted, dict):
        if not wanted:
            raise ValueError(f"The condition for {name} has no members.")
        for member, condition in wanted.items():
            _check_condition(f"{name}.{member}", condition)
    elif isinstance(wanted, list):
        if not wanted or any(isinstance(each, list) for each in wanted):
            raise ValueError(f"The condition for {name} is not a list of alternatives.")
        if len(wanted) > MAX_ALTERNATIVES:
            raise ValueError(f"The condition for {name} has more than {MAX_ALTERNATIVES} alternatives.")
        for each in wanted:
            _check_condition(name, each)
    elif isinstance(wanted, str) and (not wanted or wanted.startswith("*") or wanted.count("*") > 1):
        raise ValueError(f"The condition for {name} is a text with at most one *, which is not its first character.")


def _meets(wanted: object, found: object) -> bool:
    if isinstance(wanted, list):
        return any(_meets(each, found) for each in wanted)
    if isinstance(found, list):
        # Unverified lists are compared with each alternative, which must not take long.
        return any(not isinstance(each, list) and _meets(wanted, each) for each in found[:MAX_MEMBERS])
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            name in found and _meets(condition, found[name]) for name, condition in wanted.items()
        )
    if isinstance(wanted, str):
        return isinstance(found, str) and matches_wildcards(wanted, found)
    # In Python 1 == True, but the claims 1 and true differ.
    return type(wanted) is type(found) and wanted == found


def _contradict(one: object, other: object) -> bool:
    """Return whether no single value meets both conditions.

    A claim with a list can meet both all the same, by two members. Such an assertion matches two
    rules, and the token endpoint refuses it.
    """
    if isinstance(one, list) or isinstance(other, list):
        ones, others = (each if isinstance(each, list) else [each] for each in (one, other))
        return all(_contradict(a, b) for a in ones for b in others)
    if isinstance(one, dict) and isinstance(other, dict):
        return any(_contradict(one[name], other[name]) for name in one.keys() & other.keys())
    if isinstance(one, str) and isinstance(other, str):
        return not patterns_intersect(one, other)
    return type(one) is not type(other) or one != other


def patterns_intersect(one: str, other: str) -> bool:
    """Return whether one text matches both patterns, in which `*` is any characters."""
    # Positions in `other` that are reachable after each part of `one`.
    reachable = _skip_wildcards(other, {0})
    for character in one:
        if character == "*":
            reachable = set(range(min(reachable), len(other) + 1))
        else:
            stayed = {at for at in reachable if at < len(other) and other[at] == "*"}
            moved = {at + 1 for at in reachable if at < len(other) and other[at] == character}
            reachable = _skip_wildcards(other, stayed | moved)
        if not reachable:
            return False
    return len(other) in reachable


def _skip_wildcards(pattern: str, positions: set[int]) -> set[int]:
    """Add the positions after wildcards, which may match nothing."""
    found = set(positions)
    for position in positions:
        after = position
        while after < len(pattern) and pattern[after] == "*":
            after += 1
            found.add(after)
    return found


def federations_overlap(one: FederationRule, other: FederationRule) -> bool:
    """Return whether one assertion could match both rules for client authentication."""
    if (one.issuer, one.audience) != (other.issuer, other.audience):
        return False
    return patterns_intersect(one.subject, other.subject) and not _differ(dict(one.claims), dict(other.claims))


def _differ(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return any(_differ(one[name], other[name]) for name in one.keys() & other.keys())
    return type(one) is not type(other) or one != other


@dataclass(frozen=True, slots=True)
class FederatedClient:
    """A pointer to a client that authenticates by tokens of an issuer, with its rules for that issuer.

    The pointer of a SPIFFE trust domain has the client's `spiffe_id` instead of rules.
    """

    issuer: str
    client_id: str
    rules: tuple[FederationRule, ...] = ()
    spiffe_id: str = ""

    def admits(self, claims: Mapping[str, object]) -> bool:
        """Return whether one of the rules matches a token's subject and claims."""
        subject = claims.get("sub")
        if self.spiffe_id:
            workload = parse_spiffe_id(subject)
            return workload is not None and admits(self.spiffe_id, workload)
        return isinstance(subject, str) and any(
            rule.admits_subject(subject) and rule.admits_claims(claims) for rule in self.rules
        )

    def overlaps(self, other: FederatedClient) -> bool:
        """Return whether one token could authenticate both clients."""
        if self.spiffe_id and other.spiffe_id:
            return overlap(self.spiffe_id, other.spiffe_id)
        return any(federations_overlap(one, another) for one in self.rules for another in other.rules)


def federated_clients(client: Client) -> list[FederatedClient]:
    """Return a client's pointers, one for each issuer or trust domain whose tokens authenticate it."""
    by_issuer: dict[str, list[FederationRule]] = {}
    if FEDERATED_JWT in client.authentication_methods:
        for rule in client.federation:
            by_issuer.setdefault(rule.issuer, []).append(rule)
    pointers = [FederatedClient(issuer, client.client_id, tuple(rules)) for issuer, rules in sorted(by_issuer.items())]
    if client.spiffe and not client.authentication_methods.isdisjoint((SPIFFE_JWT, SPIFFE_X509)):
        domain = SPIFFE + client.spiffe.trust_domain
        pointers.append(FederatedClient(domain, client.client_id, spiffe_id=client.spiffe.spiffe_id))
    return pointers


def to_item(entry: TrustRule | FederatedClient) -> dict[str, Any]:
    """Return the DynamoDB item of a rule or a pointer."""
    record = _rule_record(entry) if isinstance(entry, TrustRule) else _pointer_record(entry)
    return dynamodb_items.to_item({"schema_version": SCHEMA_VERSION, "issuer": entry.issuer, **record})


def _rule_record(rule: TrustRule) -> dict[str, object]:
    record = plain_values(rule)
    del record["name"]
    if not rule.spiffe_bundle_endpoint:  # absent from the records of earlier versions
        del record["spiffe_bundle_endpoint"]
    claims = json.dumps(dict(rule.claims), sort_keys=True)  # 1 stays 1
    return {**record, "entry": RULE_PREFIX + rule.name, "profile": rule.profile.value, "claims": claims}


def _pointer_record(pointer: FederatedClient) -> dict[str, object]:
    rules = [rule.to_record() for rule in pointer.rules]
    record: dict[str, object] = {"entry": CLIENT_PREFIX + pointer.client_id, "rules": rules}
    return record | ({"spiffe_id": pointer.spiffe_id} if pointer.spiffe_id else {})


def from_item(item: Mapping[str, Any]) -> TrustRule | FederatedClient:
    """Read a rule or a pointer.

    Raises:
        StorageCorruptError: another schema version, or a missing, mistyped or invalid attribute.
    """
    record = dynamodb_items.from_item(item, schema_version=SCHEMA_VERSION)
    with dynamodb_items.reading("a trust record"):
        entry = text(record["entry"])
        if entry.startswith(RULE_PREFIX):
            return _rule(entry.removeprefix(RULE_PREFIX), record)
        if entry.startswith(CLIENT_PREFIX):
            rules = tuple(map(FederationRule.from_record, dynamodb_items.listed(record["rules"])))
            spiffe_id = text(record.get("spiffe_id", ""))
            return FederatedClient(text(record["issuer"]), entry.removeprefix(CLIENT_PREFIX), rules, spiffe_id)
    raise StorageCorruptError(reason=f"a trust record is of no known kind: {entry}")


def _rule(name: str, record: Mapping[str, Any]) -> TrustRule:
    return TrustRule(
        **read_plain(TrustRule, {"spiffe_bundle_endpoint": "", **record, "name": name}),
        profile=GrantProfile(record["profile"]),
        claims=strict_json.parse_object(text(record["claims"]).encode()),
    )
