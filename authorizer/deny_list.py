"""JWTs that were revoked, as the authorization server writes them down.

A token is looked up when it is first seen. That it was not on the list is believed for the soft
age, and then asked again at its next use; while the list cannot be asked it is believed on, up to
the hard age. So a revocation counts here after the soft age, or the hard age at the worst.
"""

from typing import NamedTuple, Protocol

from authorizer import aws
from authorizer.clocks import Ages, BackOff, Chance, Clocks, Instant
from authorizer.errors import StateUnavailable, TokenRefused
from authorizer.reasons import Reason
from authorizer.recent import Recent
from authorizer.state_entry import revoked_jwt


class RevokedTokens(Protocol):
    """Knows which tokens were revoked."""

    def holds(self, name: str, now: float, seconds: float) -> bool:
        """Tell whether the token of this name was revoked.

        Raises:
            StateUnavailable: nobody can tell.
        """


class _Known(NamedTuple):
    """What the list said about a token, and when it was asked."""

    revoked: bool
    asked: Instant


class DenyList:
    """Refuses revoked tokens, asking about each token now and then."""

    def __init__(
        self,
        tokens: RevokedTokens,
        clocks: Clocks,
        *,
        ages: Ages,
        remembered: int,
        chance: Chance,
    ) -> None:
        self._tokens = tokens
        self._clocks = clocks
        self._ages = ages
        self._known: Recent[str, _Known] = Recent(remembered)
        self._back_off = BackOff(clocks, chance=chance)

    def check(self, token: str, issuer: str, jti: str | None, now: float, seconds: float) -> None:
        """Return if a verified token was not revoked, as far as we have to know.

        Raises:
            TokenRefused: it was.
            StateUnavailable: nobody can tell.
        """
        name = revoked_jwt(issuer, jti, token)
        known = self._known.get(name)
        age = self._ages.hard if known is None else self._clocks.since(known.asked)
        if known is None or (not known.revoked and age >= self._ages.soft):
            try:
                known = self._ask(name, now, seconds)
            except StateUnavailable:
                if known is None or age >= self._ages.hard:
                    raise
        if known.revoked:
            raise TokenRefused(Reason.TOKEN_REVOKED)

    def _ask(self, name: str, now: float, seconds: float) -> _Known:
        if self._back_off.is_on():
            raise StateUnavailable(Reason.DENY_LIST_UNAVAILABLE)
        asked = self._clocks.now()
        try:
            known = _Known(self._tokens.holds(name, now, seconds), asked)
        except StateUnavailable:
            self._back_off.failed()
            raise
        self._back_off.succeeded()
        self._known.put(name, known)
        return known


class DynamoDbRevokedTokens:
    """Revoked tokens in a DynamoDB table keyed by `entry`, TTL attribute `expires_at`."""

    def __init__(self, table: str, dynamodb: aws.DynamoDb) -> None:
        self._table = table
        self._dynamodb = dynamodb

    def holds(self, name: str, now: float, seconds: float) -> bool:
        """Tell whether the token was revoked. A consistent read: no replica may lag behind."""
        try:
            answer = self._dynamodb.client(seconds).get_item(
                TableName=self._table, Key={"entry": {"S": name}}, ConsistentRead=True
            )
        except aws.errors() as error:
            raise StateUnavailable(Reason.DENY_LIST_UNAVAILABLE) from error
        item = answer.get("Item")
        if item is None:
            return False
        # DynamoDB deletes expired items days late. An entry that does not say when counts.
        return now < float(item.get("expires_at", {}).get("N", "inf"))
