"""JWTs that this server issued, verified with its own key ring by the one strict verifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from authorizer import jws
from authorizer.claims import ClaimRules, VerifiedToken
from authorizer.errors import InvalidTokenError, Reason
from authorizer.jwk import ALGORITHMS, VerificationKey, parse_key
from authorizer.verifier import TrustedIssuer, Verifier, header_rules
from functions.shared.clients.client import LONGEST_TOKEN_LIFETIME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.shared.keys.warm_key_ring import WarmKeyRing
    from functions.shared.runtime.clock import Clock

_HEADER: Final = header_rules(ALGORITHMS, require_at_jwt=False)
_REMEMBERED_TOKENS: Final = 1024
_FETCH_SECONDS: Final = 0.0  # the ring is at hand, or its own client's patience applies


class RefusedJwtError(Exception):
    """Raised when a text is no JWT of ours that counts now. `reason` is safe to log."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class IssuedJwt:
    """A verified token: what the verifier read, and all that the token says."""

    token: VerifiedToken
    claims: Mapping[str, Any]


class IssuedJwts:
    """Verifies JWTs of this server: its issuer, its published keys, any audience."""

    def __init__(self, issuer: str, key_ring: WarmKeyRing, clock: Clock) -> None:
        rules = ClaimRules(issuer, frozenset(), frozenset(), LONGEST_TOKEN_LIFETIME)
        trust = TrustedIssuer(_RingKeys(key_ring, clock), rules)
        self._verifier = Verifier({issuer: trust}, _HEADER, remembered_tokens=_REMEMBERED_TOKENS)

    def verify(self, unverified_token: str, now: float) -> IssuedJwt:
        """Return what a token says.

        Raises:
            RefusedJwtError: it is not a JWT of ours that counts at `now`.
            StorageError: the key ring cannot be read.
        """
        try:
            token = self._verifier.verify(unverified_token, now, _FETCH_SECONDS)
        except InvalidTokenError as refused:
            raise RefusedJwtError(refused.reason) from None
        return IssuedJwt(token, jws.parse_payload(jws.parse(unverified_token, _HEADER).payload))


class _RingKeys:
    """Finds the ring's published keys, each made ready once: a key id never changes its key."""

    def __init__(self, key_ring: WarmKeyRing, clock: Clock) -> None:
        self._key_ring = key_ring
        self._clock = clock
        self._ready: dict[str, VerificationKey] = {}

    def find(
        self,
        kid: str,
        seconds: float,
        *,
        known_subject_iat: float | None = None,
    ) -> VerificationKey:
        """Return the published key of this id, or raise InvalidTokenError."""
        key = self._key_ring.published_key(kid, self._clock())
        if key is None:
            raise InvalidTokenError(Reason.KID_UNKNOWN)
        return self._ready.get(kid) or self._ready.setdefault(
            kid, parse_key(key.to_jwk(), ALGORITHMS)
        )
