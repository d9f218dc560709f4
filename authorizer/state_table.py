"""The DynamoDB table of short-lived state: revoked JWTs and used DPoP proofs."""

from collections import OrderedDict
from functools import partial
from hashlib import sha256
from math import inf
from threading import Lock
from typing import Final, Protocol

from authorizer import aws
from authorizer.cache import Ages, Jitter, Kept, LRUCache, Question, Upkeep
from authorizer.clock import Clocks
from authorizer.errors import InvalidTokenError, Reason, StateUnavailableError

REVOKED = "revoked"


def entry(kind: str, *parts: str) -> str:
    """Name an entry: what kind of thing it is, and a digest of its parts, each after its length."""
    digest = sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return f"{kind}#{digest.hexdigest()}"


def revoked_jwt(issuer: str, jti: str | None, token: str) -> str:
    """Name the entry of a revoked JWT: by its `jti`, or by what was signed where it has none.

    Not by the whole token, because some signatures can be written in more than one way.
    """
    if jti is not None:
        return entry(REVOKED, issuer, "jti", jti)
    signing_input = token.rpartition(".")[0]
    return entry(REVOKED, issuer, "signing-input", sha256(signing_input.encode()).hexdigest())


KIND: Final = "proof"
SCHEMA_VERSION: Final = 1
MAX_REMEMBERED: Final = 100_000


class ReplayStore(Protocol):
    """Remembers which proofs were used."""

    def use(self, jkt: str, jti: str, until: int, now: float, seconds: float) -> None:
        """Use the proof of this key and this `jti`; it is remembered until its time is over.

        Of any number of concurrent calls exactly one returns. `until` and `now` are seconds since
        the epoch; `seconds` is how long this may take.

        Raises:
            InvalidTokenError: it was used before.
            StateUnavailableError: nobody can tell.
        """


class DynamoDbReplayStore:
    """Used proofs in a DynamoDB table keyed by `entry`, TTL attribute `expires_at`."""

    def __init__(self, table: str, dynamodb: aws.DynamoDb) -> None:
        self._table = table
        self._dynamodb = dynamodb

    def use(self, jkt: str, jti: str, until: int, now: float, seconds: float) -> None:
        """Use a proof. One conditional write, so that no race can pass twice."""
        try:
            client = self._dynamodb.client(seconds)
            try:
                client.put_item(
                    TableName=self._table,
                    Item={
                        "entry": {"S": entry(KIND, jkt, jti)},
                        "expires_at": {"N": str(until)},
                        "schema_version": {"N": str(SCHEMA_VERSION)},
                    },
                    # DynamoDB deletes expired items days late.
                    ConditionExpression="attribute_not_exists(entry) OR expires_at <= :now",
                    ExpressionAttributeValues={":now": {"N": str(int(now))}},
                )
            except client.exceptions.ConditionalCheckFailedException:
                raise InvalidTokenError(Reason.PROOF_USED) from None
        except aws.errors() as error:
            raise StateUnavailableError(Reason.PROOF_STORE_UNAVAILABLE) from error


class MemoryReplayStore:
    """Used proofs in this process: for a laptop, where one process answers every request.

    When it is full it forgets nothing that still counts, and takes no more.
    """

    def __init__(self, capacity: int = MAX_REMEMBERED) -> None:
        self._capacity = capacity
        self._until: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._lock = Lock()

    def use(self, jkt: str, jti: str, until: int, now: float, seconds: float) -> None:
        """Use a proof."""
        with self._lock:
            self._forget_expired(now)
            if self._until.get((jkt, jti), 0) > now:
                raise InvalidTokenError(Reason.PROOF_USED)
            if len(self._until) >= self._capacity:
                raise StateUnavailableError(Reason.PROOF_STORE_FULL)
            self._until[jkt, jti] = until

    def _forget_expired(self, now: float) -> None:
        """Drop expired entries from the oldest on, and all expired ones when the memory is full.

        An entry from before the clock was set back may be the oldest and expire much later.
        """
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        if len(self._until) >= self._capacity:
            for proof in [proof for proof, until in self._until.items() if until <= now]:
                del self._until[proof]


_FOR_GOOD = Ages(inf, inf)


class RevokedTokens(Protocol):
    """Knows which tokens were revoked."""

    def holds(self, name: str, now: float, seconds: float) -> bool:
        """Tell whether the token of this name was revoked.

        Raises:
            StateUnavailableError: nobody can tell.
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
        jitter: Jitter,
    ) -> None:
        self._tokens = tokens
        self._clocks = clocks
        self._ages = ages
        self._known: LRUCache[str, Kept[bool]] = LRUCache(remembered)
        trouble = partial(StateUnavailableError, Reason.DENY_LIST_UNAVAILABLE)
        self._upkeep: Upkeep[bool] = Upkeep(clocks, trouble, jitter=jitter)

    def check(self, token: str, issuer: str, jti: str | None, now: float, seconds: float) -> None:
        """Return if a verified token was not revoked, as far as we have to know.

        Raises:
            InvalidTokenError: it was.
            StateUnavailableError: nobody can tell.
        """
        name = revoked_jwt(issuer, jti, token)
        kept = self._known.get(name)
        if kept is None or not self._upkeep.is_fresh(kept):
            recall, ask = partial(self._known.get, name), partial(self._ask, name, now)
            kept = self._upkeep.current(Question(recall, ask, name), seconds)
        if kept.value:
            raise InvalidTokenError(Reason.TOKEN_REVOKED)

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
            raise StateUnavailableError(Reason.DENY_LIST_UNAVAILABLE) from error
        item = answer.get("Item")
        if item is None:
            return False
        # DynamoDB deletes expired items days late. An entry without a valid time never expires.
        try:
            return not now >= float(item["expires_at"]["N"])
        except (KeyError, ValueError):
            return True
