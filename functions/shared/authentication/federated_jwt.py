"""federated_jwt: a JWT of another issuer about a workload authenticates a client.

Examples are AWS STS web identity tokens, GitHub Actions, Kubernetes service accounts and OpenID
Connect issuers. A workload sends such a token repeatedly while it is valid. It is accepted until
`exp` or until the rule's `max_age` has passed. A rule can require single use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from authorizer.claims import refuse_other_kinds
from authorizer.errors import InvalidTokenError, Reason
from authorizer.jwk import VerificationKey

from ..clients.assertion_rules import FederationRule
from ..clients.client import Client
from ..clients.supported import FEDERATED_JWT
from ..storage.errors import StorageCorruptError
from ..web.oauth_errors import InvalidClientError
from .client_assertion import (
    KnownSubjects,
    ReplayCheck,
    accepted_until,
    check_sole_audience,
    dummy_key,
    verify_signature,
)
from .credentials import CLIENT_ASSERTION, CredentialSource, PresentedAssertion, PresentedCredentials, assertion_errors
from .remote_jwks import RemoteJwks

if TYPE_CHECKING:
    from ..clients.trust_store import CachedTrust, TrustedIssuer


@dataclass(frozen=True, slots=True)
class FederatedJwt:
    """Assertions of issuers that the operator trusts. `issuer` is this server's identifier."""

    issuer: str
    remote_jwks: RemoteJwks
    replays: ReplayCheck
    dummy_key: Callable[[str], VerificationKey] = dummy_key
    name: str = FEDERATED_JWT
    credential: str = CLIENT_ASSERTION
    known_subjects: KnownSubjects = field(default_factory=KnownSubjects)

    def read(self, source: CredentialSource) -> PresentedCredentials[PresentedAssertion] | None:
        """Read an assertion whose issuer is not its subject. `client_id` names the client.

        Raises:
            InvalidClientError: it is an ID token of a login, or a security event.
        """
        assertion = source.assertion
        if assertion is None or assertion.is_self_issued:
            return None
        with assertion_errors():
            refuse_other_kinds(assertion.unverified_claims)
        return PresentedCredentials(source.form.get("client_id") or "", assertion)

    def verify(self, presented: PresentedCredentials[PresentedAssertion], client: Client | None, now: float) -> None:
        """Verify the signature by the issuer's keys, then the claims by the client's rules."""
        assertion = presented.credential
        with assertion_errors():
            if not assertion.jws.header.kid:
                raise InvalidTokenError(Reason.KID_MISSING)
            rules = self._rules(client, assertion.unverified_claims.get("iss"))
            find_key = partial(self._key, rules, assertion)
            dummy = self.dummy_key(assertion.jws.header.alg)
            claims = verify_signature(assertion, find_key, dummy)
            rule = _matching(rules, claims)
            check_sole_audience(claims, [rule.audience])
            expires_at = accepted_until(claims, rule.max_age, now)
            if rule.one_time:
                self.replays.consume(rule.issuer, claims, expires_at, now)
            self.known_subjects.add(rule.issuer, str(claims["sub"]))

    def _key(
        self, rules: list[FederationRule], assertion: PresentedAssertion, rejected: VerificationKey | None
    ) -> VerificationKey | None:
        if not rules:
            return None
        issuer, claims = rules[0].issuer, assertion.unverified_claims
        known_subject_iat = self.known_subjects.issued_at(claims, issuer, str(claims.get("sub")))
        return self.remote_jwks.find_by_issuer(issuer, assertion.jws.header.kid, known_subject_iat, rejected)

    def _rules(self, client: Client | None, unverified_issuer: object) -> list[FederationRule]:
        """Return the client's rules for an issuer. This server's own tokens are not accepted."""
        if client is None or unverified_issuer == self.issuer:
            return []
        return [rule for rule in client.federation if rule.issuer == unverified_issuer]


@dataclass(frozen=True, slots=True)
class FederatedClients:
    """Finds the client that a token authenticates without `client_id`, by the pointers in the trust table."""

    issuer: str
    trust: CachedTrust

    def knows(self, unverified_claims: Mapping[str, object]) -> bool:
        """Return whether the token's issuer is cached."""
        issuer = unverified_claims.get("iss")
        return isinstance(issuer, str) and self.trust.peek(issuer) is not None

    def find(self, unverified_claims: Mapping[str, object], now: float) -> str:
        """Return the only client whose rules match the token's issuer, subject and claims; empty without one.

        Raises:
            InvalidClientError: there are several.
            StorageError: the trust table cannot be read.
        """
        issuer = unverified_claims.get("iss")
        if not isinstance(issuer, str) or issuer == self.issuer:
            return ""
        known = self.trust.find(issuer)
        found = _admitting(known, unverified_claims)
        if len(found) != 1:
            known = self.trust.find_again(issuer, now)
            found = _admitting(known, unverified_claims)
        if len(found) > 1:
            raise InvalidClientError(reason=f"the token authenticates several clients: {', '.join(found)}")
        if not found and known and known.client_faults:
            raise StorageCorruptError(reason=f"a pointer to a client cannot be read: {known.client_faults[0]}")
        return found[0] if found else ""


def _admitting(known: TrustedIssuer | None, claims: Mapping[str, object]) -> list[str]:
    return [client.client_id for client in known.clients if client.admits(claims)] if known else []


def _matching(rules: list[FederationRule], claims: Mapping[str, object]) -> FederationRule:
    if not rules:
        raise InvalidTokenError(Reason.ISS_UNKNOWN)
    subject = claims.get("sub")
    for rule in rules:
        if isinstance(subject, str) and rule.admits_subject(subject) and rule.admits_claims(claims):
            return rule
    raise InvalidClientError(reason="federated token: no rule admits its subject and claims")
