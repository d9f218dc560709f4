"""spiffe_jwt: a JWT-SVID of a trusted SPIFFE trust domain authenticates a client.

draft-ietf-oauth-spiffe-client-auth-02, 3.1, and JWT-SVID, 2 to 4. The trust domain of `sub` decides
which keys verify the signature. `iss` is optional and not used.

A workload's agent caches a JWT-SVID, so that a workload sends it repeatedly. It is accepted until
`exp`. A client's record can require single use.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from authorizer.errors import InvalidTokenError, Reason
from authorizer.jwk import VerificationKey

from ..clients.client import Client
from ..clients.spiffe_rules import SpiffeRules, parse_spiffe_id
from ..clients.supported import SPIFFE_JWT
from ..web.oauth_errors import InvalidClientError
from .client_assertion import ReplayCheck, check_sole_audience, dummy_key, read_expiry, verify_signature
from .credentials import JWT_SVID, CredentialSource, PresentedAssertion, PresentedCredentials, assertion_errors
from .remote_jwks import RemoteJwks
from .trust_bundles import TrustBundles


@dataclass(frozen=True, slots=True)
class SpiffeJwt:
    """JWT-SVIDs of trust domains that the operator trusts. `issuer` is this server's identifier."""

    issuer: str
    bundles: TrustBundles
    remote_jwks: RemoteJwks
    replays: ReplayCheck
    dummy_key: Callable[[str], VerificationKey] = dummy_key
    name: str = SPIFFE_JWT
    credential: str = JWT_SVID

    def read(self, source: CredentialSource) -> PresentedCredentials[PresentedAssertion] | None:
        """Read a JWT-SVID. The client is named by `client_id`, or else by the SPIFFE ID in `sub`."""
        assertion = source.assertion
        if assertion is None:
            return None
        subject = assertion.unverified_claims.get("sub")
        client_id = source.form.get("client_id") or (subject if isinstance(subject, str) else "")
        return PresentedCredentials(client_id, assertion)

    def verify(self, presented: PresentedCredentials[PresentedAssertion], client: Client | None, now: float) -> None:
        """Verify the signature by the trust domain's keys, then the claims."""
        assertion = presented.credential
        rules = client.spiffe if client else None
        fault = _subject_fault(presented, rules)
        with assertion_errors():
            find_key = partial(self._key, None if fault else rules, assertion)
            try:
                claims = verify_signature(assertion, find_key, self.dummy_key(assertion.jws.header.alg))
            except InvalidTokenError:
                if fault:
                    raise InvalidClientError(reason=fault) from None
                raise
            if rules is None or fault:
                raise InvalidClientError(reason=fault)
            expires_at = self._check_claims(claims, rules, now)
            if rules.one_time:
                self.replays.consume(rules.trust_domain, claims, expires_at, now)
            presented.spiffe_id = str(claims["sub"])

    def _key(
        self, rules: SpiffeRules | None, assertion: PresentedAssertion, rejected: VerificationKey | None
    ) -> VerificationKey | None:
        if rules is None:
            return None
        header = assertion.jws.header
        if not rules.jwks_uri:
            return None if rejected else self.bundles.jwt_key(rules, header)
        if not header.kid:
            raise InvalidTokenError(Reason.KID_MISSING)
        return self.remote_jwks.find(rules.jwks_uri, header.kid, None, rejected)

    def _check_claims(self, claims: Mapping[str, object], rules: SpiffeRules, now: float) -> float:
        if claims.get("iss") == self.issuer:
            raise InvalidTokenError(Reason.ISS_UNKNOWN)
        check_sole_audience(claims, [self.issuer])
        return read_expiry(claims, now, rules.lifetime)


def _subject_fault(presented: PresentedCredentials[PresentedAssertion], rules: SpiffeRules | None) -> str | None:
    """Return why the subject is not the client's workload, None if it is."""
    spiffe_id = parse_spiffe_id(presented.credential.unverified_claims.get("sub"))
    if spiffe_id is None:
        return "JWT-SVID: sub is not a SPIFFE ID"
    client_id = presented.unverified_client_id
    if client_id.startswith("spiffe:") and client_id != str(spiffe_id):
        return "JWT-SVID: client_id is another SPIFFE ID than sub"
    if rules is None or not rules.admits(spiffe_id):
        return "JWT-SVID: sub is not the SPIFFE ID of the client"
    return None
