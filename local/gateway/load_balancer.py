"""Emulate how an Application Load Balancer verifies a JWT: the `jwt-validation` action of a listener.

Source: Elastic Load Balancing, "Verify JWTs using an Application Load Balancer". Its rules, target
groups and events are not emulated. docs/guard-your-api.md lists what is inferred.
"""

from dataclasses import dataclass
from typing import Literal

from local.gateway.native_jwt import Clock, KeySet, KeySetRules, RejectedTokenError, UnverifiedToken

_ALGORITHMS = frozenset(("RS256",))
_KEY_SET_RULES = KeySetRules(3600, refetch_unknown=True, max_keys=10, max_length=150 * 1024)

ClaimFormat = Literal["single-string", "space-separated-values", "string-array"]


@dataclass(frozen=True, slots=True)
class AdditionalClaim:
    """A claim that a load balancer checks. One of the values is enough."""

    name: str
    format: ClaimFormat
    values: frozenset[str]

    def accepts(self, claim: object) -> bool:
        """Return whether a token's claim has the format and one of the values."""
        if self.format == "string-array":
            return isinstance(claim, list) and any(isinstance(each, str) and each in self.values for each in claim)
        if not isinstance(claim, str):
            return False
        parts = claim.split(" ") if self.format == "space-separated-values" else [claim]
        return not self.values.isdisjoint(parts)


class LoadBalancerCheck:
    """The `jwt-validation` action of an Application Load Balancer."""

    def __init__(self, issuer: str, jwks_endpoint: str, claims: tuple[AdditionalClaim, ...], clock: Clock) -> None:
        self._issuer = issuer
        self._claims = claims
        self._clock = clock
        self._keys = KeySet(jwks_endpoint, _KEY_SET_RULES, clock)

    def check(self, authorization: str | None) -> None:
        """Return if a request with this Authorization header may reach the target.

        Raises:
            FetchError: the key set is not available or exceeds a limit. No request is forwarded.
            RejectedTokenError: the token is not valid.
        """
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise RejectedTokenError("there is no bearer token")
        token = UnverifiedToken.decode(text)
        if token.claims.get("iss") != self._issuer:
            raise RejectedTokenError("the token does not have a valid issuer")
        token.verify(self._keys.find(token.header), _ALGORITHMS)
        token.check_times(self._clock())
        for claim in self._claims:
            if not claim.accepts(token.claims.get(claim.name)):
                raise RejectedTokenError(f"the token's {claim.name} is not accepted")
