"""JWTs that were revoked, as the authorization server writes them down.

A token is looked up when it is first seen. That it was not on the list is believed for the soft
age, and then asked again at its next use; while the list cannot be asked it is believed on, up to
the hard age. So a revocation counts here after the soft age, or the hard age at the worst.
"""

from functools import partial
from math import inf
from typing import Protocol

from authorizer import aws
from authorizer.clocks import Clocks
from authorizer.errors import StateUnavailable, TokenRefused
from authorizer.reasons import Reason
from authorizer.recent import Recent
from authorizer.state_entry import revoked_jwt
from authorizer.upkeep import Ages, Chance, Kept, Question, Upkeep

_FOR_GOOD = Ages(inf, inf)


class RevokedTokens(Protocol):
    """Knows which tokens were revoked."""

    def holds(self, name: str, now: float, seconds: float) -> bool:
        """Tell whether the token of this name was revoked.

        Raises:
            StateUnavailable: nobody can tell.
        """


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
        self._known: Recent[str, Kept[bool]] = Recent(remembered)
        trouble = partial(StateUnavailable, Reason.DENY_LIST_UNAVAILABLE)
        self._upkeep: Upkeep[bool] = Upkeep(clocks, trouble, chance=chance)

    def check(self, token: str, issuer: str, jti: str | None, now: float, seconds: float) -> None:
        """Return if a verified token was not revoked, as far as we have to know.

        Raises:
            TokenRefused: it was.
            StateUnavailable: nobody can tell.
        """
        name = revoked_jwt(issuer, jti, token)
        kept = self._known.get(name)
        if kept is None or not self._upkeep.is_fresh(kept):
            recall, ask = partial(self._known.get, name), partial(self._ask, name, now)
            kept = self._upkeep.current(Question(recall, ask, name), seconds)
        if kept.value:
            raise TokenRefused(Reason.TOKEN_REVOKED)

    def _ask(self, name: str, now: float, seconds: float) -> Kept[bool]:
        asked = self._clocks.now()
        revoked = self._tokens.holds(name, now, seconds)
        kept = Kept(revoked, asked, _FOR_GOOD if revoked else self._ages)
        self._known.put(name, kept)
        return kept


class DynamoDbRevokedTokens:
    """Revoked tokens in a DynamoDB table keyed by `entry`, TTL attribute `expires_at`."""

    def __init__(self, table: str, dynamodb: aws.DynamoDb) -> None:
        self._table = table
        self._dynamodb = dynamodb

    def holds(self, name: str, now: float, seconds: float) -> bool:
        """Tell whether the token was revoked. A consistent read: no replica may lag behind."""
        try:
            answer = self._dynamodb.client(seconds).get_item(
                TableName=self._table,
                Key={"entry": {"S": name}},
                ConsistentRead=True,
            )
        except aws.errors() as error:
            raise StateUnavailable(Reason.DENY_LIST_UNAVAILABLE) from error
        item = answer.get("Item")
        if item is None:
            return False
        # DynamoDB deletes expired items days late. An entry without a valid time never expires.
        try:
            return not now >= float(item["expires_at"]["N"])
        except (KeyError, ValueError):
            return True
