"""private_key_jwt: the client signs a short-lived assertion for this server, to be used once.

RFC 7523, 2.2 and 3, as updated by RFC 10070.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from authorizer.errors import InvalidTokenError, Reason
from authorizer.jwk import VerificationKey
from authorizer.jws import ALGORITHMS, UnverifiedHeader

from ..clients.assertion_rules import AssertionRules
from ..clients.client import Client
from ..clients.supported import PRIVATE_KEY_JWT
from ..web.endpoint import TOKEN_PATH
from .client_assertion import (
    KnownSubjects,
    ReplayCheck,
    check_sole_audience,
    dummy_key,
    inline_key,
    read_expiry,
    verify_signature,
)
from .credentials import (
    CLIENT_ASSERTION,
    CLIENT_AUTHENTICATION_TYPE,
    CredentialSource,
    PresentedAssertion,
    PresentedCredentials,
    assertion_errors,
)
from .remote_jwks import RemoteJwks

_STRICT_TYPES = frozenset({CLIENT_AUTHENTICATION_TYPE})
_TYPES = frozenset({None, "jwt", CLIENT_AUTHENTICATION_TYPE})


@dataclass(frozen=True, slots=True)
class PrivateKeyJwt:
    """Assertions that clients sign themselves. `issuer` is this server's identifier."""

    issuer: str
    remote_jwks: RemoteJwks
    replays: ReplayCheck
    dummy_key: Callable[[str], VerificationKey] = dummy_key
    name: str = PRIVATE_KEY_JWT
    credential: str = CLIENT_ASSERTION
    known_subjects: KnownSubjects = field(default_factory=KnownSubjects)

    def read(self, source: CredentialSource) -> PresentedCredentials[PresentedAssertion] | None:
        """Read a self-issued assertion. Its subject is the client. RFC 7521, 4.2."""
        assertion = source.assertion
        if assertion is None or not assertion.is_self_issued:
            return None
        return PresentedCredentials(str(assertion.unverified_claims["sub"]), assertion)

    def verify(self, presented: PresentedCredentials[PresentedAssertion], client: Client | None, now: float) -> None:
        """Verify the signature, then the claims, and record the use last."""
        rules = client.assertion if client else None
        assertion = presented.credential
        with assertion_errors():
            _check_header(assertion.jws.header, rules)
            find_key = partial(self._key, client, rules, assertion)
            dummy = self.dummy_key(assertion.jws.header.alg)
            claims = verify_signature(assertion, find_key, dummy)
            if client is None or rules is None:
                raise InvalidTokenError(Reason.KID_UNKNOWN)
            expires_at = self._check_claims(claims, client.client_id, rules, now)
            self.replays.consume(client.client_id, claims, expires_at, now)
            self.known_subjects.add(client.client_id, rules.jwks_uri)

    def _key(
        self,
        client: Client | None,
        rules: AssertionRules | None,
        assertion: PresentedAssertion,
        rejected: VerificationKey | None,
    ) -> VerificationKey | None:
        if client is None or rules is None:
            return None
        header = assertion.jws.header
        if not rules.jwks_uri:
            return inline_key(rules.key_set, header)
        if not header.kid:
            raise InvalidTokenError(Reason.KID_MISSING)
        known_subject_iat = self.known_subjects.issued_at(assertion.unverified_claims, client.client_id, rules.jwks_uri)
        return self.remote_jwks.find(rules.jwks_uri, header.kid, known_subject_iat, rejected)

    def _check_claims(self, claims: Mapping[str, object], client_id: str, rules: AssertionRules, now: float) -> float:
        if claims.get("iss") != client_id or claims.get("sub") != client_id:
            raise InvalidTokenError(Reason.ISS_UNKNOWN)
        accepted = [self.issuer]
        if rules.accepts_token_endpoint:
            accepted.append(self.issuer + TOKEN_PATH)
        check_sole_audience(claims, accepted)
        return read_expiry(claims, now, rules.lifetime)


def _check_header(header: UnverifiedHeader, rules: AssertionRules | None) -> None:
    if header.alg not in (rules.algorithms if rules else ALGORITHMS):
        raise InvalidTokenError(Reason.ALG_NOT_ALLOWED)
    if header.typ not in (_STRICT_TYPES if rules and rules.requires_typ else _TYPES):
        raise InvalidTokenError(Reason.TYP_NOT_ALLOWED)
