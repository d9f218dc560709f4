"""private_key_jwt: a client signs a short-lived JWT about itself, for this server, to use once.

RFC 7523, 2.2 and 3, as updated by RFC 10070.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

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
from functions.shared.clients.authentication_methods import PRIVATE_KEY_JWT
from functions.shared.web import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from authorizer.jwk import VerificationKey
    from authorizer.jws import UnverifiedHeader, UnverifiedJws
    from functions.shared.authentication.remote_keys import RemoteKeys
    from functions.shared.clients.assertion_rules import AssertionRules
    from functions.shared.clients.client_record import Client
    from functions.shared.web.form import Form
    from functions.shared.web.proxy_request import ProxyRequest

_STRICT_TYPES: Final = frozenset({CLIENT_AUTHENTICATION_TYPE})
_TYPES: Final = frozenset({None, "jwt", CLIENT_AUTHENTICATION_TYPE})


@dataclass(frozen=True, slots=True)
class PrivateKeyJwt:
    """Assertions that clients sign themselves. `issuer` is this server's identifier."""

    issuer: str
    keys: RemoteKeys
    once: OneTime
    decoy: Callable[[str], VerificationKey] = decoy_key
    name: str = PRIVATE_KEY_JWT
    credential: str = CLIENT_ASSERTION
    verified: VerifiedBefore = field(default_factory=VerifiedBefore)

    def read(self, request: ProxyRequest, form: Form) -> Claimed | None:
        """Read an assertion whose subject is its issuer. It names the client: no client_id needed.

        RFC 7521, 4.2.
        """
        assertion = read_assertion(form)
        if assertion is None or not assertion.is_own:
            return None
        return Claimed(str(assertion.subject), assertion.token)

    def verify(self, claimed: Claimed, client: Client | None, now: float) -> None:
        """Check the signature, then the claims, and use up the assertion at the very last."""
        rules = client.assertion if client else None
        with assertion_refusals():
            unverified = jws.parse(claimed.proof, _header_rules(rules))
            key = self._key(client, rules, unverified) if client and rules else None
            claims = verify_signature(unverified, key, self.decoy(unverified.header.alg))
            if client is None or rules is None:
                raise TokenRefused(Reason.KID_UNKNOWN)
            expires_at = self._check_claims(claims, client.client_id, rules, now)
            self.once.use(client.client_id, claims, expires_at, now)
            self.verified.note(client.client_id, rules.jwks_uri)

    def _key(
        self, client: Client, rules: AssertionRules, unverified: UnverifiedJws
    ) -> VerificationKey | None:
        if not rules.jwks_uri:
            return _inline_key(rules, unverified.header)
        if not unverified.header.kid:
            raise TokenRefused(Reason.KID_MISSING)
        vouched_issued_at = self.verified.issued_at(
            jws.parse_payload(unverified.payload), client.client_id, rules.jwks_uri
        )
        return self.keys.at(rules.jwks_uri, unverified.header.kid, vouched_issued_at)

    def _check_claims(
        self, claims: Mapping[str, object], client_id: str, rules: AssertionRules, now: float
    ) -> float:
        # What was read before is read again from what is signed.
        if claims.get("iss") != client_id or claims.get("sub") != client_id:
            raise TokenRefused(Reason.ISS_UNKNOWN)
        accepted = [self.issuer]
        if rules.accepts_token_endpoint:
            accepted.append(self.issuer + paths.TOKEN)
        check_sole_audience(claims, accepted)
        expires_at = read_expiry(claims, now)
        if expires_at > now + rules.lifetime + LEEWAY:
            raise TokenRefused(Reason.LIFETIME_TOO_LONG)
        return expires_at


def _header_rules(rules: AssertionRules | None) -> HeaderRules:
    return HeaderRules(
        rules.algorithms if rules else ALGORITHMS,
        _STRICT_TYPES if rules and rules.requires_typ else _TYPES,
        key_id_required=False,
    )


def _inline_key(rules: AssertionRules, header: UnverifiedHeader) -> VerificationKey | None:
    """Return the key that the header names; without a name, the client's only one for its `alg`."""
    keys = rules.key_set.keys
    if header.kid:
        return keys.get(header.kid)
    fitting = [key for key in keys.values() if key.alg == header.alg]
    return fitting[0] if len(fitting) == 1 else None
