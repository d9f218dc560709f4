"""JWT authorization grants: JWTs of other issuers that a trust rule accepts (RFC 7523, 2.1; RFC 10070).

The request may authenticate the client, but need not: the rule names it. An ID-JAG always needs it
(draft-ietf-oauth-identity-assertion-authz-grant, 4.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import floor
from typing import TYPE_CHECKING

from authorizer import claims as claim_reading
from authorizer import jws
from authorizer.errors import InvalidTokenError, Reason
from authorizer.jwk import VerificationKey
from authorizer.jws import ALGORITHMS, HeaderRules

from ..shared.authentication.client_assertion import (
    KnownSubjects,
    ReplayCheck,
    accepted_until,
    check_sole_audience,
    dummy_key,
    inline_key,
    read_expiry,
    verify_signature,
)
from ..shared.authentication.client_authentication import OutdatedRecordError, count_failure
from ..shared.authentication.credentials import PresentedAssertion
from ..shared.authentication.rate_limit import ISSUER, UNKNOWN_ISSUER, FailureLimiter
from ..shared.authentication.remote_jwks import RemoteJwks
from ..shared.clients.additional_claims import SUBJECT_ID
from ..shared.clients.client import Client, is_resource_indicator
from ..shared.clients.client_registry import ClientRegistry
from ..shared.clients.supported import SPIFFE
from ..shared.clients.trust_rule import ID_JAG_TYPE, FailedClaim, GrantProfile, Match, TrustRule
from ..shared.clients.trust_store import CachedTrust, TrustedIssuer
from ..shared.lambda_function import Clock
from ..shared.storage.errors import StorageCorruptError, StorageUnavailableError
from ..shared.storage.state_table import AlreadyUsedError
from ..shared.web.audit import AuditEntry
from ..shared.web.endpoint import TOKEN_PATH
from ..shared.web.form import Form
from ..shared.web.oauth_errors import InvalidClientError, InvalidGrantError, InvalidScopeError, InvalidTargetError
from ..shared.web.proxy_request import ProxyRequest
from .grants import Grant, TokenRequest, default_audience, granted_scopes, named_audience, narrowed_scopes

if TYPE_CHECKING:
    from ..shared.authentication.trust_bundles import TrustBundles

TYPES = frozenset({None, "jwt", "jose", "authorization-grant+jwt", ID_JAG_TYPE})
"""Accepted `typ` headers. Access tokens, client assertions, logout tokens and DPoP proofs have others."""

_HEADER = HeaderRules(ALGORITHMS, TYPES, key_id_required=False)


@dataclass(frozen=True, slots=True)
class AcceptedAssertion:
    """A verified assertion, its rule, and the time until which it would be accepted again."""

    rule: TrustRule
    match: Match
    claims: Mapping[str, object] = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class JwtGrants:
    """Accepts assertions by trust rules. `issuer` is this server's identifier."""

    issuer: str
    trust: CachedTrust
    clients: ClientRegistry
    remote_jwks: RemoteJwks
    trust_bundles: Callable[[], TrustBundles]
    replays: ReplayCheck
    limiter: FailureLimiter
    clock: Clock
    dummy_key: Callable[[str], VerificationKey] = dummy_key
    known_subjects: KnownSubjects = field(default_factory=KnownSubjects)

    def accept(
        self, request: ProxyRequest, form: Form, client: Client | None, audit: AuditEntry
    ) -> tuple[Client, AcceptedAssertion]:
        """Return the client that an assertion's rule names, and the assertion. `client` is authenticated.

        Raises:
            InvalidRequestError: there is no assertion.
            InvalidGrantError: the assertion is not acceptable, whatever the reason.
            InvalidClientError: it needs an authenticated client.
            TooManyFailuresError: too many of the issuer's assertions were not acceptable.
            StorageUnavailableError, TemporarilyUnavailableError: rules, clients or keys cannot be read.
        """
        now = self.clock()
        assertion = parse_assertion(form.require("assertion"))
        if assertion.jws.header.typ == ID_JAG_TYPE and client is None:
            raise InvalidClientError(reason="an ID-JAG needs client authentication")
        known = next(filter(self.trust.peek, issuers_of(assertion.unverified_claims, self.issuer)), None)
        limited = ISSUER + known if known else UNKNOWN_ISSUER
        self.limiter.check(limited, request.source_ip, now)
        attempt = _Attempt(self, assertion, client, form.get("client_id"), now, audit)
        try:
            issuer, found = self._find(attempt)
            limited = ISSUER + issuer if found else UNKNOWN_ISSUER
            accepted = self._accepted(attempt, issuer, found)
            named = client or self._client(accepted.rule, now)
        except (InvalidGrantError, InvalidClientError, OutdatedRecordError):
            count_failure(self.limiter, limited, request.source_ip, now, audit)
            raise
        audit.verify_client(named.client_id)
        return named, accepted

    def consume(self, accepted: AcceptedAssertion, now: float) -> None:
        """Mark an assertion as used, if its rule accepts it once. Call this last.

        A second use is not counted as a failed guess.

        Raises:
            InvalidGrantError: it was used before, or has no `jti`.
        """
        if not accepted.rule.is_one_time:
            return
        try:
            self.replays.consume(accepted.rule.issuer, accepted.claims, accepted.expires_at, now)
        except AlreadyUsedError:
            raise InvalidGrantError(reason="assertion: used before") from None
        except InvalidTokenError as error:
            raise InvalidGrantError(reason=f"assertion: {error.reason}") from None

    def _find(self, attempt: _Attempt, *, again: bool = False) -> tuple[str, TrustedIssuer | None]:
        issuer = ""
        for issuer in issuers_of(attempt.assertion.unverified_claims, self.issuer):
            found = self.trust.find_again(issuer, attempt.now) if again else self.trust.find(issuer)
            if found is not None and (found.rules or found.faults):
                return issuer, found
        return issuer, None

    def _accepted(self, attempt: _Attempt, issuer: str, found: TrustedIssuer | None) -> AcceptedAssertion:
        """Return the accepted assertion. Rules are reloaded before cached ones reject it.

        Raises:
            InvalidGrantError: the current rules reject it.
            OutdatedRecordError: cached rules reject it.
        """
        try:
            return attempt.verify(issuer, found)
        except InvalidGrantError:
            try:
                issuer, current = self._find(attempt, again=True)
            except StorageUnavailableError as error:
                raise OutdatedRecordError(reason=error.reason) from error.__cause__
            if current == found:
                raise
        return attempt.verify(issuer, current)

    def _client(self, rule: TrustRule, now: float) -> Client:
        client = self.clients.find(rule.client_id)
        if client is None or client.disabled:
            client = self.clients.find_again(rule.client_id, now)
        if client is None or client.disabled:
            raise InvalidGrantError(reason=f"the client of rule {rule.name} is disabled or does not exist")
        return client


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One request's assertion, to be verified by the rules of its issuer."""

    grants: JwtGrants
    assertion: PresentedAssertion
    client: Client | None
    named_client: str | None
    now: float
    audit: AuditEntry

    def verify(self, issuer: str, found: TrustedIssuer | None) -> AcceptedAssertion:
        """Choose the rule by the unverified claims, then verify the assertion by its keys and limits.

        Raises:
            InvalidGrantError: no rule or more than one matches, or the assertion breaks the rule.
        """
        header, unverified = self.assertion.jws.header, self.assertion.unverified_claims
        if self.client is None and self.named_client:
            self.audit.claim_client(self.named_client)
        rule, match, obstacle = self._choose(issuer, found)
        try:
            # Without a rule the dummy key raises, in the same time.
            claims = verify_signature(self.assertion, partial(self._key, rule), self.grants.dummy_key(header.alg))
            claim_reading.refuse_other_kinds(claims)
            expires_at = rule_accepts_until(claims, rule, self.now)
        except InvalidTokenError as error:
            if found and found.rule_faults and not match:
                raise StorageCorruptError(reason=f"a trust rule cannot be read: {found.rule_faults[0]}") from None
            raise InvalidGrantError(reason=obstacle or f"assertion: {error.reason}") from None
        if rule is None or match is None:
            raise InvalidGrantError(reason=obstacle)
        self.audit.note(trust_rule=rule.name)
        self.grants.known_subjects.add(rule.issuer, str(unverified["sub"]))
        if rule.requires_client and self.client is None:
            raise InvalidClientError(reason=f"rule {rule.name} needs client authentication")
        return AcceptedAssertion(rule, match, claims, expires_at)

    def _choose(self, issuer: str, found: TrustedIssuer | None) -> tuple[TrustRule | None, Match | None, str | None]:
        if found is None:
            return None, None, "assertion: the issuer is not trusted"
        self.audit.note(assertion_issuer=issuer)
        wanted = self.client.client_id if self.client else self.named_client
        return choose_rule(
            [(rule, match_rule(rule, self.assertion, self.grants.issuer, wanted)) for rule in found.rules]
        )

    def _key(self, rule: TrustRule | None, rejected: VerificationKey | None) -> VerificationKey | None:
        if rule is None:
            return None
        claims = self.assertion.unverified_claims
        known_subject_iat = self.grants.known_subjects.issued_at(claims, rule.issuer, str(claims.get("sub")))
        remote, bundles = self.grants.remote_jwks, self.grants.trust_bundles
        return find_key(rule, self.assertion, remote, bundles, known_subject_iat, rejected)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a rule does not match an assertion: the reason, and the claims that do not meet the rule."""

    reason: str
    failed: tuple[FailedClaim, ...] = ()


def match_rule(
    rule: TrustRule, assertion: PresentedAssertion, issuer: str, wanted_client: str | None
) -> Match | Obstacle:
    """Return the match of a rule, or why it does not match. `issuer` is this server's identifier."""
    header, claims = assertion.jws.header, assertion.unverified_claims
    obstacles = {
        "disabled": rule.disabled,
        "typ": not rule.admits_type(header.typ),
        "alg": header.alg not in rule.accepted_algorithms,
        "another client": wanted_client not in (None, rule.client_id),
    }
    if any(obstacles.values()):
        return Obstacle(next(filter(obstacles.get, obstacles)))
    outcome = rule.match(claims)
    if not isinstance(outcome, Match):
        return Obstacle(", ".join(claim.name for claim in outcome), tuple(outcome))
    try:
        claim_reading.read_subject({"sub": outcome.subject}, None)
        if not rule.is_for_svids:  # whose subjects are SPIFFE IDs, which may be longer
            claim_reading.read_subject(claims, None)
        check_sole_audience(claims, rule.accepted_audiences(issuer, issuer + TOKEN_PATH))
    except InvalidTokenError as error:
        return Obstacle(error.reason)
    return outcome


def choose_rule(
    outcomes: Sequence[tuple[TrustRule, Match | Obstacle]],
) -> tuple[TrustRule | None, Match | None, str | None]:
    """Return the only matching rule and its match, or why there is none."""
    matching = [(rule, outcome) for rule, outcome in outcomes if isinstance(outcome, Match)]
    if len(matching) == 1:
        return *matching[0], None
    if matching:
        return None, None, f"several trust rules match: {', '.join(rule.name for rule, _ in matching)}"
    failed = [f"{rule.name}: {outcome.reason}" for rule, outcome in outcomes if isinstance(outcome, Obstacle)]
    return None, None, f"no trust rule matches: {'; '.join(failed) or 'there is none'}"


def find_key(
    rule: TrustRule,
    assertion: PresentedAssertion,
    remote: RemoteJwks,
    bundles: Callable[[], TrustBundles],
    known_subject_iat: float | None,
    rejected: VerificationKey | None,
) -> VerificationKey | None:
    """Return the key of an assertion among those of its rule, None if `jwks` has none.

    Raises:
        InvalidTokenError: there is no such key.
        TemporarilyUnavailableError: the keys cannot be fetched.
    """
    header = assertion.jws.header
    if rule.jwks:
        return inline_key(rule.key_set, header)
    if rule.spiffe_bundle_endpoint:
        return None if rejected else bundles().jwt_key(rule.workloads, header)
    if not header.kid:
        raise InvalidTokenError(Reason.KID_MISSING)
    if rule.jwks_uri:
        return remote.find(rule.jwks_uri, header.kid, known_subject_iat, rejected)
    return remote.find_by_issuer(rule.issuer, header.kid, known_subject_iat, rejected)


def rule_accepts_until(claims: Mapping[str, object], rule: TrustRule | None, now: float) -> float:
    """Return until when an assertion is accepted. `iat` is optional in a JWT-SVID.

    Raises:
        InvalidTokenError: not any more, or not yet, or for too long.
    """
    if rule is None or not rule.is_for_svids or "iat" in claims:
        return accepted_until(claims, rule.max_age if rule else 0, now)
    return read_expiry(claims, now, rule.max_age)


def parse_assertion(token: str) -> PresentedAssertion:
    """Parse an assertion; raises InvalidGrantError."""
    try:
        parsed = jws.parse(token, _HEADER)
        return PresentedAssertion(parsed, jws.parse_payload(parsed.payload))
    except InvalidTokenError as error:
        raise InvalidGrantError(reason=f"assertion: {error.reason}") from None


def issuers_of(unverified_claims: Mapping[str, object], server: str) -> list[str]:
    """Return the names under which an assertion's issuer may be known: `iss`, and a SPIFFE trust domain.

    This server's own tokens are not grants.
    """
    issuer, subject = unverified_claims.get("iss"), unverified_claims.get("sub")
    names = [issuer] if isinstance(issuer, str) and issuer != server else []
    if isinstance(subject, str) and subject.startswith(SPIFFE) and issuer != server:
        names.append(SPIFFE + subject.removeprefix(SPIFFE).partition("/")[0])
    return names


def grant_by_assertion(request: TokenRequest) -> Grant:
    """Decide a token request with an assertion: nothing beyond the client, the rule and an ID-JAG's claims.

    Raises:
        InvalidGrantError: the assertion is bound to a key that the request does not prove. A claim of
            an ID-JAG is malformed or not supported.
        InvalidScopeError: a scope is not allowed by one of them.
        InvalidTargetError: a resource is not allowed by one of them, or there are several.
    """
    accepted, client = request.assertion, request.client
    if accepted is None:
        raise InvalidGrantError
    rule = accepted.rule
    _check_binding(accepted.claims, request)
    id_jag = accepted.claims if rule.profile is GrantProfile.ID_JAG else {}
    if "authorization_details" in id_jag:
        raise InvalidGrantError("The claim authorization_details is not supported.")
    narrowed = rule.narrowed(client)
    resource = _audience(narrowed, rule, request.form, _claimed_resources(id_jag))
    return Grant(
        client=client,
        scopes=_scopes(narrowed, request.form.get("scope"), _claimed_scopes(id_jag)),
        audience=resource,
        confirmation=request.confirmation,
        subject=accepted.match.subject,
        not_after=floor(request.now) + rule.lifetime,
        resource=resource[0] if "resource" in id_jag else None,
        claims={SUBJECT_ID: _subject_id(accepted), **accepted.match.copied, **client.claims},
    )


def _subject_id(accepted: AcceptedAssertion) -> dict[str, object]:
    """Return the subject and the rule's issuer, because subjects of two issuers may be equal. RFC 9493, 3.2.3.

    The claim `iss` of a JWT-SVID is optional and may name any issuer.
    """
    return {"format": "iss_sub", "iss": accepted.rule.issuer, "sub": accepted.claims["sub"]}


def _check_binding(claims: Mapping[str, object], request: TokenRequest) -> None:
    try:
        bound_to = claim_reading.read_confirmation(claims)
    except InvalidTokenError as error:
        raise InvalidGrantError(reason=f"assertion: {error.reason}") from None
    if not request.proves(bound_to):
        raise InvalidGrantError("The assertion is bound to a key that the request does not prove.")


def _claimed_scopes(id_jag: Mapping[str, object]) -> tuple[str, ...] | None:
    scope = id_jag.get("scope")
    if "scope" not in id_jag:
        return None
    if not isinstance(scope, str):
        raise InvalidGrantError(reason=f"assertion: {Reason.SCOPE_MALFORMED}")
    return tuple(dict.fromkeys(scope.split(" ")))


def _scopes(client: Client, requested: str | None, claimed: tuple[str, ...] | None) -> tuple[str, ...]:
    if claimed is None:
        return granted_scopes(client, requested)
    if requested is None:
        scopes = tuple(scope for scope in claimed if scope in client.scopes)
        if not scopes:
            raise InvalidScopeError(reason="no scope of the assertion is allowed")
        return scopes
    return narrowed_scopes(client, requested, claimed, "assertion")


def _claimed_resources(id_jag: Mapping[str, object]) -> tuple[str, ...] | None:
    if "resource" not in id_jag:
        return None
    resources = claim_reading.one_or_more(id_jag["resource"])
    if resources is None or not all(map(is_resource_indicator, resources)):
        raise InvalidGrantError(reason="assertion: resource is malformed")
    return tuple(sorted(resources))


def _audience(client: Client, rule: TrustRule, form: Form, claimed: tuple[str, ...] | None) -> tuple[str, ...]:
    resources = form.get_all("resource")
    if resources:
        audience = named_audience(client, resources)
    elif claimed is not None:
        audience = named_audience(client, rule.audiences_of(client).intersection(claimed))
    elif len(rule.audiences) == 1:
        audience = named_audience(client, (), rule.audiences)
    else:
        audience = default_audience(client)
    is_allowed = not rule.audiences or rule.audiences.issuperset(audience)
    if not audience or not is_allowed or not (claimed is None or set(claimed).issuperset(audience)):
        raise InvalidTargetError
    return audience
