"""Federated clients: a JWT that another issuer signed about a workload proves a client of ours.

AWS STS web identity tokens, GitHub Actions, Kubernetes service accounts, any OpenID Connect issuer.
Such a token lies in the workload for as long as it lives and is sent again and again by design, so
it counts until `exp` or the rule's `max_age`, whichever is earlier; a rule can make it count once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from authorizer import claims as claim_reading
from authorizer import jws
from authorizer.claims import LEEWAY
from authorizer.errors import TokenRefused
from authorizer.jwk import ALGORITHMS
from authorizer.jws import HeaderRules
from authorizer.reasons import Reason
from functions.shared.authentication.client_assertion import (
    CLIENT_AUTHENTICATION_TYPE,
    OneTime,
    VerifiedBefore,
    assertion_refusals,
    check_sole_audience,
    read_assertion,
    read_expiry,
    verify_signature,
)
from functions.shared.authentication.credentials import CLIENT_ASSERTION, Claimed
from functions.shared.authentication.decoy_keys import decoy_key
from functions.shared.clients.authentication_methods import FEDERATED_JWT
from functions.shared.web.oauth_errors import InvalidClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from authorizer.jwk import VerificationKey
    from authorizer.jws import UnverifiedJws
    from functions.shared.authentication.remote_keys import RemoteKeys
    from functions.shared.clients.client_record import Client
    from functions.shared.clients.federation_rules import FederationRule
    from functions.shared.web.form import Form
    from functions.shared.web.proxy_request import ProxyRequest

# Access tokens (at+jwt), DPoP proofs and whatever else says that it is something else stay out.
_HEADER: Final = HeaderRules(
    ALGORITHMS,
    frozenset({None, "jwt", "jose", CLIENT_AUTHENTICATION_TYPE}),
)


@dataclass(frozen=True, slots=True)
class FederatedJwt:
    """Assertions of issuers that the operator trusts. `issuer` is this server's identifier."""

    issuer: str
    keys: RemoteKeys
    once: OneTime
    decoy: Callable[[str], VerificationKey] = decoy_key
    name: str = FEDERATED_JWT
    credential: str = CLIENT_ASSERTION
    verified: VerifiedBefore = field(default_factory=VerifiedBefore)

    def read(self, request: ProxyRequest, form: Form) -> Claimed | None:
        """Read an assertion about somebody else than its issuer. The client is `client_id`."""
        assertion = read_assertion(form)
        if assertion is None or assertion.is_own:
            return None
        return Claimed(form.get("client_id") or "", assertion.token)

    def verify(self, claimed: Claimed, client: Client | None, now: float) -> None:
        """Check the signature with the issuer's keys, then the claims by the client's rules."""
        with assertion_refusals():
            unverified = jws.parse(claimed.proof, _HEADER)
            unverified_claims = jws.parse_payload(unverified.payload)
            rules = self._rules(client, unverified_claims.get("iss"))
            key = self._key(rules[0].issuer, unverified, unverified_claims) if rules else None
            claims = verify_signature(unverified, key, self.decoy(unverified.header.alg))
            rule = _admitting(rules, claims)
            expires_at = _check_claims(claims, rule, now)
            if rule.one_time:
                self.once.use(rule.issuer, claims, expires_at, now)
            self.verified.note(rule.issuer, str(claims["sub"]))

    def _key(
        self, issuer: str, unverified: UnverifiedJws, unverified_claims: Mapping[str, object]
    ) -> VerificationKey:
        vouched_issued_at = self.verified.issued_at(
            unverified_claims, issuer, str(unverified_claims.get("sub"))
        )
        return self.keys.of_issuer(issuer, unverified.header.kid, vouched_issued_at)

    def _rules(self, client: Client | None, unverified_issuer: object) -> list[FederationRule]:
        """Return the client's rules for an issuer. Tokens of our own never prove a client."""
        if client is None or unverified_issuer == self.issuer:
            return []
        return [rule for rule in client.federation if rule.issuer == unverified_issuer]


def _admitting(rules: list[FederationRule], claims: Mapping[str, object]) -> FederationRule:
    if not rules:
        raise TokenRefused(Reason.ISS_UNKNOWN)
    subject = claims.get("sub")
    for rule in rules:
        if isinstance(subject, str) and rule.admits_subject(subject) and rule.admits_claims(claims):
            return rule
    raise InvalidClientError(reason="federated token: no rule admits its subject and claims")


def _check_claims(claims: Mapping[str, object], rule: FederationRule, now: float) -> float:
    """Check audience and times; return until when the token counts."""
    check_sole_audience(claims, [rule.audience])
    expires_at = read_expiry(claims, now)
    issued_at = claim_reading.read_time(claims, "iat")
    if issued_at is None:
        raise TokenRefused(Reason.IAT_MISSING)
    too_old_at = issued_at + rule.max_age + LEEWAY
    if now >= too_old_at:
        raise TokenRefused(Reason.LIFETIME_TOO_LONG)
    return min(expires_at, too_old_at)
